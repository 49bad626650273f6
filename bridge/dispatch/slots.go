package dispatch

import (
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/request"
)

// Slots knows how many tasks of one pool are in flight, of which model, and how many may be. The truth about capacity is
// Kling's: its refusal (code 1303) says that as many as are in flight is all there is, of the pool or of a model. Every
// replica sees every submitted and completed event, so each of them knows what is in flight; what the others are about to
// send they tell, see turns.
//
// Safe for concurrent use.
type Slots struct {
	mu   sync.Mutex
	used holdings
	ceiling
	models    map[string]*modelSlots
	refusals  map[string]int // models that were refused under the limit, and how many slots each may have by itself
	resting   resting        // freed, and left to other replicas for a moment
	bound     int            // configured upper bound; 0: none
	deafUntil time.Time      // what other replicas say that they reserve is not believed
	// removed collects the hashes of what ended while a recount was reading, see beginRecount. Nil otherwise.
	removed map[uint64]struct{}
}

type usage struct {
	request.Need
	held    bool // by a task, rather than reserved for a call under way
	foreign bool // reserved by another replica
	hearsay bool // held, as far as another replica says
	unsure  bool // held, and the task may not exist
	final   bool // its task is known never to be made again
	seen    bool // by the recount under way
	at      time.Time
	clock   uint64 // of its announcement; 0: it was not told yet, or by a replica that counts none

	overPool, overOwn bool // reserved beyond the limit of the pool, or of the model, to see whether it holds
}

const (
	// UnknownLimit stands for a limit that Kling has not shown yet.
	UnknownLimit = -1
	// maxWindow bounds creates under way at a time in one pool of one replica.
	maxWindow = 64
	// windowStep is after how many tasks that Kling took one more create may be unanswered: a limit is found with about an
	// eighth of it in refusals.
	windowStep = 8
	// tryStep is how many tasks have to begin before a full pool or model is tried again that refused a try, unless
	// maxProbeWait has passed.
	tryStep = 16
	// A pool that is full is tried with one more now and then: plans grow, and tasks of other programs on the same
	// account end unseen. Each refusal doubles the wait.
	firstProbeWait = time.Second
	maxProbeWait   = time.Minute
	// foreignLife is how long another replica's reservation may be without a record in the stream.
	foreignLife = 10 * time.Second
	// maxTrust is how long requests wait for nothing but what other replicas say that they have reserved, while no task
	// begins. By then a reservation has become a task, was given back, or a recount has found its record or dropped it.
	maxTrust = recountInterval + foreignLife + 5*time.Second
	// deafTime is how long none is believed after that: somebody tells of them who is no replica.
	deafTime = 5 * time.Minute
	// maxForeign bounds what other replicas are believed to have reserved.
	maxForeign = 4096
)

// NewSlots knows no limit yet; bound is the configured one, or 0.
func NewSlots(bound int) *Slots {
	return &Slots{
		used: newHoldings(), ceiling: newCeiling(), models: map[string]*modelSlots{}, refusals: map[string]int{}, bound: bound,
	}
}

// grant is the answer to whoever wants slots.
type grant struct {
	ok    bool
	owned bool // and they are the caller's to give back
	full  full // why not
	soon  bool // there may be room once calls are answered
}

// full is what has no room.
type full int

const (
	fullPool full = iota
	fullModel
)

// reserve takes slots for a create call, if there are as many. A request that is known to hold slots already is let through
// without taking any more: what it holds is not the caller's to give back.
func (s *Slots) reserve(token string, of request.Need, now time.Time) grant {
	return s.ask(token, of, false, now)
}

// try is reserve for a request that comes after one that waits for the pool: it gets slots only to see whether the pool
// is full for its model too.
func (s *Slots) try(token string, of request.Need, now time.Time) grant {
	return s.ask(token, of, true, now)
}

func (s *Slots) ask(token string, of request.Need, beyond bool, now time.Time) grant {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.used.get(token); known {
		return grant{ok: true}
	}
	var v view
	if beyond {
		v = s.look(of, true, now)
		v.ok = v.ok && v.pool == fitsNever
	} else {
		v = s.judge(of, now)
	}
	if !v.ok {
		if v.own == fitsNow {
			s.model(of.Model).waits = now
		}
		return grant{full: s.why(of.Model, v), soon: v.soon()}
	}
	u := usage{Need: of, at: now, overPool: v.pool == fitsNever, overOwn: v.own == fitsNever}
	if u.overPool {
		s.delay(now)
	}
	if u.overOwn {
		s.model(of.Model).delay(now)
	}
	s.put(token, u)
	return grant{ok: true, owned: true}
}

// why tells what has no room, where neither may have any: a model that is only suspected waits for its pool.
func (s *Slots) why(model string, v view) full {
	if _, certain := s.ownLimit(model); v.own == fitsNow || v.pool != fitsNow && !certain {
		return fullPool
	}
	return fullModel
}

// view is how slots fit.
type view struct {
	ok        bool // they may be taken
	pool, own fit
	bounded   bool // the configured bound has no room
}

// soon reports whether slots that don't fit now may fit without any task ending.
func (v view) soon() bool {
	return !v.ok && !v.bounded && v.pool != fitsNever && v.own != fitsNever && (v.pool == fitsSoon || v.own == fitsSoon)
}

// judge tells whether slots may be taken. It waits for what other replicas say that they have reserved, but not for ever.
func (s *Slots) judge(of request.Need, now time.Time) view {
	v := s.look(of, true, now)
	alone := v
	if !v.ok && s.foreign+s.hearsay > 0 {
		alone = s.look(of, false, now)
	}
	waits := alone.ok && !v.ok // for what only others say
	trust := &s.trust
	if v.own != fitsNow {
		trust = &s.model(of.Model).trust
	}
	switch {
	case trust.holds(waits, now):
		v.ok = false
	case waits:
		s.forgetForeign()
		s.deafUntil = now.Add(deafTime)
		v = s.look(of, true, now)
	}
	return v
}

// look tells how slots fit beside what is held and reserved, with or without what others have reserved.
func (s *Slots) look(of request.Need, others bool, now time.Time) view {
	m := s.model(of.Model)
	all, own := s.reserved, m.reserved
	if !others {
		all, own = all-s.foreign-s.hearsay, own-m.foreign-m.hearsay
	}
	resting, ownResting := s.resting.at(of.Model, now)
	limit, _ := s.ownLimit(of.Model)
	v := view{pool: s.fit(s.limit, of.N, all, resting), own: m.fit(limit, of.N, own, ownResting)}
	if left := all + s.held + resting; s.bound > 0 && left+of.N > s.bound && left > 0 {
		v.pool, v.bounded = fitsSoon, true
		return v
	}
	v.ok = v.pool == fitsNow && v.own == fitsNow || s.tries(of.Model, v.pool, v.own, others, now)
	return v
}

// never reports whether slots are more than there are, as far as is known. Such a request waits for a probe.
func (s *Slots) never(of request.Need) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, _ := s.ownLimit(of.Model)
	return s.limit != UnknownLimit && of.N > max(s.limit, 1) || own != UnknownLimit && of.N > max(own, 1)
}

// bounded reports whether there is a configured bound.
func (s *Slots) bounded() bool { return s.bound > 0 }

// accepted turns a reservation into a held slot: Kling has created the task.
func (s *Slots) accepted(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.used.get(token)
	if ok {
		s.grow()
		s.model(u.Model).grow()
	}
	if !ok || u.held && !u.unsure { // it has already ended
		return
	}
	u.held, u.unsure = true, false
	s.put(token, u)
	s.learnTask(u)
	s.begun(u.Model)
}

// suspect turns a reservation into a held slot for a task that may exist: it counts as in flight, but does not hold up
// other calls as one under way does.
func (s *Slots) suspect(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.used.get(token); ok && !u.held {
		u.held, u.unsure = true, true
		s.put(token, u)
	}
}

// begun follows the beginning of a task; the caller holds the mutex.
func (s *Slots) begun(model string) {
	s.trust.spent, s.model(model).trust.spent = 0, 0
	s.hadRoom(model)
}

// hadRoom corrects limits after a task more is held; the caller holds the mutex.
func (s *Slots) hadRoom(model string) {
	m := s.model(model)
	s.raise()
	m.raise()
	if own := s.suspicion(model); own != UnknownLimit && m.held-m.unsure > own {
		s.refusals[model] = m.held - m.unsure
	}
}

// refused gives a reservation back after Kling said that there is no capacity, and learns from it.
func (s *Slots) refused(token string, of request.Need, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, _ := s.used.get(token)
	s.forget(token)
	s.learnRefusal(of.Model, of.N, u, now)
}

// release gives back what a request takes, whether reserved or held. What it held is left to other replicas until the
// given time; zero: to none.
func (s *Slots) release(token string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.used.get(token)
	s.forget(token)
	if known && u.held && !until.IsZero() {
		s.resting = append(s.resting, rest{u.N, u.Model, until})
	}
}

// hold notes a task that another replica has created.
func (s *Slots) hold(token string, of request.Need, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, known := s.used.get(token); known && (u.held && !u.unsure || !u.held && !u.foreign) {
		return
	}
	s.put(token, usage{Need: of, held: true, at: now})
	s.begun(of.Model)
}

// taken notes that another replica is about to send a create call, in the place of a slot that was left to it.
func (s *Slots) taken(by place, of request.Need, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.used.get(by.token); known || s.foreign >= maxForeign || now.Before(s.deafUntil) {
		return
	}
	s.put(by.token, usage{Need: of, foreign: true, at: now, clock: by.clock})
	s.resting.take(of)
}

// given notes that another replica's call made no task. After a refusal of Kling's the pool need not be tried by
// everybody.
func (s *Slots) given(token, model string, refused bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, known := s.used.get(token); known && u.foreign && !u.held {
		s.forget(token)
	}
	if refused {
		s.heard(now)
		s.model(model).heard(now)
	}
}

// put and remove keep the sums; the caller holds the mutex.
func (s *Slots) put(token string, u usage) {
	s.remove(token)
	u = s.used.set(token, u)
	s.count(u, u.N)
}

func (s *Slots) remove(token string) {
	u, ok := s.used.get(token)
	if !ok {
		return
	}
	s.used.remove(token)
	s.count(u, -u.N)
}

// drop is remove for a task of which the token is not known.
func (s *Slots) drop(hash uint64) {
	u := s.used.unpack(s.used.tasks[hash])
	delete(s.used.tasks, hash)
	s.count(u, -u.N)
}

func (s *Slots) count(u usage, n int) {
	s.ceiling.count(u, n)
	s.model(u.Model).count(u, n)
}

// forget is remove for what has come to an end; the caller holds the mutex.
func (s *Slots) forget(token string) {
	s.remove(token)
	if s.removed != nil {
		s.removed[s.used.hash(token)] = struct{}{}
	}
}

// need is what a request takes, if it is known to take any.
func (s *Slots) need(token string) (of request.Need, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.used.get(token)
	return u.Need, known
}

// room is how many requests are worth holding ready: those that could start now, and a few for slots that free soon.
func (s *Slots) room() int {
	const ahead = 2
	s.mu.Lock()
	defer s.mu.Unlock()
	free := maxWindow
	if s.limit != UnknownLimit {
		free = s.limit - s.reserved - s.held
	}
	if s.bound > 0 {
		free = min(free, s.bound-s.reserved-s.held)
	}
	return min(max(free, 0)+ahead, maxWindow)
}

// full reports whether a task has to end before there is room, as far as is known: in the pool, of the model, or under the
// configured bound.
func (s *Slots) full(of request.Need, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.look(of, true, now)
	return v.pool == fitsNever || v.own == fitsNever || v.bounded
}

// nextChange is when time alone makes room: a full pool may be tried with one more, or slots were left to other
// replicas long enough. Zero: no such time is known.
func (s *Slots) nextChange(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next time.Time
	sooner := func(at time.Time) {
		if at.After(now) && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	sooner(s.probeAt)
	for _, m := range s.models {
		sooner(m.probeAt)
	}
	for _, r := range s.resting {
		sooner(r.until)
	}
	return next
}
