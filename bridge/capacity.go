package bridge

import (
	"slices"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// slots knows how many tasks of one pool are in flight and how many may be. The truth about capacity is Kling's: its
// refusal (code 1303) says that as many as are in flight is all there is. Every replica sees every submitted and
// completed event, so each of them knows what is in flight; what the others are about to send they tell, see turns.
//
// Safe for concurrent use.
type slots struct {
	mu sync.Mutex
	// used is what each request takes, by token: reserved for a create call under way, or held by a task.
	used map[string]usage
	// reserved and held are the sums over used.
	reserved, held int
	foreign        int    // the part of reserved that is other replicas'
	resting        []rest // freed, and left to other replicas for a moment
	bound          int    // configured upper bound; 0: none
	limit          int    // learned from refusals; unknownLimit until the first
	window         int    // creates that may be unanswered at a time while the limit is unknown
	probeAt        time.Time
	probeWait      time.Duration
	probed         time.Time // by this replica, last
	trust          credit    // in what other replicas say that they reserve
	deafUntil      time.Time // it is not believed
	// removed collects what ended while a recount was reading, see beginRecount. Nil otherwise.
	removed map[string]bool
}

type usage struct {
	n       int
	held    bool // by a task, rather than reserved for a call under way
	foreign bool // reserved by another replica
	at      time.Time
}

// rest is a number of slots that another replica may take until then.
type rest struct {
	n     int
	until time.Time
}

const (
	unknownLimit = -1
	// maxWindow bounds creates under way at a time in one pool of one replica.
	maxWindow = 64
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

func newSlots(bound int) *slots {
	return &slots{
		used: map[string]usage{}, bound: bound, limit: unknownLimit, window: 1, probeWait: firstProbeWait,
		trust: credit{most: maxTrust},
	}
}

// reserve takes n slots for a create call, if there are as many. A request that is known to hold slots already is let
// through without taking any more, and owned is false: what it holds is not the caller's to give back.
func (s *slots) reserve(token string, n int, now time.Time) (ok, owned bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.used[token]; known {
		return true, false
	}
	if !s.fits(n, now) {
		return false, false
	}
	s.put(token, usage{n: n, at: now})
	return true, true
}

func (s *slots) fits(n int, now time.Time) bool {
	ok, probe := s.fitsBeside(s.reserved, n, now)
	waits := false // for what only others say
	if !ok && s.foreign > 0 {
		waits, _ = s.fitsBeside(s.reserved-s.foreign, n, now)
	}
	switch {
	case s.trust.holds(waits, now):
		return false
	case waits:
		s.forgetForeign()
		s.deafUntil = now.Add(deafTime)
		ok, probe = s.fitsBeside(s.reserved, n, now)
	}
	if probe {
		s.probed, s.probeAt = now, now.Add(s.probeWait)
	}
	return ok
}

// fitsBeside reports whether n slots fit beside what is held and so many that are reserved, and whether that is to try a
// full pool with one more.
func (s *slots) fitsBeside(reserved, n int, now time.Time) (ok, probe bool) {
	taken := reserved + s.held
	left := taken + s.restingAt(now)
	if s.bound > 0 && left+n > s.bound && left > 0 {
		return false, false
	}
	switch {
	case s.limit == unknownLimit:
		return reserved < s.window, false
	case left+n <= s.limit:
		return true, false
	case taken+n <= s.limit: // it will fit in a moment
		return false, false
	case reserved > 0 || now.Before(s.probeAt):
		return false, false
	default:
		return true, true
	}
}

// never reports whether n slots are more than the pool has, as far as is known. Such a request waits for a probe.
func (s *slots) never(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit != unknownLimit && n > s.limit
}

// restingAt sums up what is left to other replicas.
func (s *slots) restingAt(now time.Time) (n int) {
	s.resting = slices.DeleteFunc(s.resting, func(r rest) bool { return !r.until.After(now) })
	for _, r := range s.resting {
		n += r.n
	}
	return n
}

// bounded reports whether there is a configured bound.
func (s *slots) bounded() bool { return s.bound > 0 }

// overfull reports whether the configured bound has no room for all that is reserved and held, n of it just now.
func (s *slots) overfull(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := s.reserved + s.held
	return s.bound > 0 && total > s.bound && total > n
}

// accepted turns a reservation into a held slot: Kling has created the task.
func (s *slots) accepted(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.window < maxWindow {
		s.window++
	}
	u, ok := s.used[token]
	if !ok || u.held { // it has already ended
		return
	}
	u.held = true
	s.put(token, u)
	s.begun()
}

// suspect turns a reservation into a held slot for a task that may exist: it counts as in flight, but does not hold up
// other calls as one under way does.
func (s *slots) suspect(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, ok := s.used[token]; ok && !u.held {
		u.held = true
		s.put(token, u)
	}
}

// begun follows the beginning of a task; the caller holds the mutex.
func (s *slots) begun() {
	s.trust.spent = 0
	s.raise()
}

// raise corrects a limit that turned out to be too low; the caller holds the mutex.
func (s *slots) raise() {
	if s.limit != unknownLimit && s.held > s.limit {
		s.limit, s.probeWait = s.held, firstProbeWait
	}
}

// refused gives a reservation back after Kling said that there is no capacity, and learns from it: so many more than
// are in flight is too many.
func (s *slots) refused(token string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := max(s.used[token].n, 1)
	s.forget(token)
	limit := s.held + n - 1
	if s.limit != unknownLimit {
		limit = min(limit, s.limit)
	}
	if limit == s.limit {
		s.probeWait = min(2*s.probeWait, maxProbeWait)
	} else {
		s.probeWait = firstProbeWait
	}
	s.limit = limit
	s.probed, s.probeAt = now, now.Add(s.probeWait)
}

// release gives back what a request takes, whether reserved or held. What it held is left to other replicas until the
// given time; zero: to none.
func (s *slots) release(token string, until time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.used[token]
	s.forget(token)
	if known && u.held && !until.IsZero() {
		s.resting = append(s.resting, rest{u.n, until})
	}
}

// hold notes a task that another replica has created.
func (s *slots) hold(token string, n int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, known := s.used[token]; known && (u.held || !u.foreign) {
		return
	}
	s.put(token, usage{n: n, held: true, at: now})
	s.begun()
}

// taken notes that another replica is about to send a create call, in the place of a slot that was left to it.
func (s *slots) taken(token string, n int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.used[token]; known || s.foreign >= maxForeign || now.Before(s.deafUntil) {
		return
	}
	s.put(token, usage{n: n, foreign: true, at: now})
	for n > 0 && len(s.resting) > 0 {
		n -= s.resting[0].n
		s.resting = s.resting[1:]
	}
}

// given notes that another replica's call made no task. After a refusal of Kling's the pool need not be tried by
// everybody.
func (s *slots) given(token string, refused bool, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, known := s.used[token]; known && u.foreign && !u.held {
		s.forget(token)
	}
	if refused && s.limit != unknownLimit { // but never for long: only what this replica has tried itself is certain
		s.probeAt = earlier(now.Add(s.probeWait), s.probed.Add(2*maxProbeWait))
	}
}

// put and remove keep the sums; the caller holds the mutex.
func (s *slots) put(token string, u usage) {
	s.remove(token)
	s.used[token] = u
	s.count(u, u.n)
}

func (s *slots) remove(token string) {
	u, ok := s.used[token]
	if !ok {
		return
	}
	delete(s.used, token)
	s.count(u, -u.n)
}

func (s *slots) count(u usage, n int) {
	if u.held {
		s.held += n
		return
	}
	s.reserved += n
	if u.foreign {
		s.foreign += n
	}
}

// forget is remove for what has come to an end; the caller holds the mutex.
func (s *slots) forget(token string) {
	s.remove(token)
	if s.removed != nil {
		s.removed[token] = true
	}
}

// beginRecount marks the start of a recount: events are at most once, so what is in flight is now and then read from
// the stream. What ends while the stream is being read must not come back.
func (s *slots) beginRecount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = map[string]bool{}
}

// endRecount takes over what the stream says is in flight, by token. Reservations of this replica and what was added
// since began stay.
func (s *slots) endRecount(stored map[string]int, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, u := range s.used {
		_, ok := stored[token]
		stale := u.foreign && u.at.Before(began.Add(-foreignLife))
		switch {
		case !ok && (stale || u.held && u.at.Before(began)):
			s.remove(token)
		case ok && stale && !u.held: // whoever reserved it may be gone: it must not hold up probes
			u.held = true
			s.put(token, u)
		}
	}
	for token, n := range stored {
		if _, known := s.used[token]; !known && !s.removed[token] {
			s.put(token, usage{n: n, held: true, at: began})
		}
	}
	s.removed = nil
}

// abortRecount ends a recount that could not read the stream.
func (s *slots) abortRecount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = nil
}

// weight is what a request takes, if it is known to take any.
func (s *slots) weight(token string) (n int, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.used[token]
	return u.n, known
}

// room is how many requests are worth holding ready: those that could start now, and a few for slots that free soon.
func (s *slots) room() int {
	const ahead = 2
	s.mu.Lock()
	defer s.mu.Unlock()
	free := maxWindow
	if s.limit != unknownLimit {
		free = s.limit - s.reserved - s.held
	}
	if s.bound > 0 {
		free = min(free, s.bound-s.reserved-s.held)
	}
	return min(max(free, 0)+ahead, maxWindow)
}

// nextChange is when time alone makes room: a full pool may be tried with one more, or slots were left to other
// replicas long enough. Zero: no such time is known.
func (s *slots) nextChange(now time.Time) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	var next time.Time
	if s.probeAt.After(now) {
		next = s.probeAt
	}
	for _, r := range s.resting {
		if r.until.After(now) && (next.IsZero() || r.until.Before(next)) {
			next = r.until
		}
	}
	return next
}

// status tells how many slots are taken and how many there are, and of how many tasks.
func (s *slots) status() (pool events.PoolStatus, tasks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	pool.InFlight = s.reserved + s.held
	if limit := s.limit; limit != unknownLimit {
		pool.Limit = &limit
	}
	if bound := s.bound; bound > 0 {
		pool.Cap = &bound
	}
	for _, u := range s.used {
		if u.held {
			tasks++
		}
	}
	return pool, tasks
}
