package bridge

import (
	"sync"
	"time"
)

// slots knows how many tasks of one pool are in flight and how many may be. The truth about capacity is Kling's: its
// refusal (code 1303) says that as many as are in flight is all there is. Every replica sees every submitted and
// completed event, so each of them knows what is in flight.
//
// Safe for concurrent use.
type slots struct {
	mu sync.Mutex
	// used is what each request takes, by token: reserved for a create call under way, or held by a task.
	used map[string]usage
	// reserved and held are the sums over used.
	reserved, held int
	bound          int // configured upper bound; 0: none
	limit          int // learned from refusals; unknownLimit until the first
	window         int // creates that may be unanswered at a time while the limit is unknown
	probeAt        time.Time
	probeWait      time.Duration
	// removed collects what ended while a recount was reading, see beginRecount. Nil otherwise.
	removed map[string]bool
}

type usage struct {
	n    int
	held bool // by a task, rather than reserved for a call under way
	at   time.Time
}

const (
	unknownLimit = -1
	// maxWindow bounds creates under way at a time in one pool of one replica.
	maxWindow = 64
	// A pool that is full is tried with one more now and then: plans grow, and tasks of other programs on the same
	// account end unseen. Each refusal doubles the wait.
	firstProbeWait = time.Second
	maxProbeWait   = time.Minute
)

func newSlots(bound int) *slots {
	return &slots{used: map[string]usage{}, bound: bound, limit: unknownLimit, window: 1, probeWait: firstProbeWait}
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
	total := s.reserved + s.held + n
	if s.bound > 0 && total > s.bound && s.reserved+s.held > 0 {
		return false
	}
	if s.limit == unknownLimit {
		return s.reserved < s.window
	}
	if total <= s.limit {
		return true
	}
	if now.Before(s.probeAt) || s.reserved > 0 {
		return false
	}
	s.probeAt = now.Add(s.probeWait)
	return true
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
	s.raise()
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

// raise corrects a limit that turned out to be too low; the caller holds the mutex.
func (s *slots) raise() {
	if s.limit != unknownLimit && s.held > s.limit {
		s.limit, s.probeWait = s.held, firstProbeWait
	}
}

// refused gives a reservation back after Kling said that there is no capacity, and learns from it.
func (s *slots) refused(token string, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(token)
	if s.removed != nil {
		s.removed[token] = true
	}
	if s.held == s.limit {
		s.probeWait = min(2*s.probeWait, maxProbeWait)
	} else {
		s.probeWait = firstProbeWait
	}
	s.limit = s.held
	s.probeAt = now.Add(s.probeWait)
}

// release gives back what a request takes, whether reserved or held.
func (s *slots) release(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(token)
	if s.removed != nil {
		s.removed[token] = true
	}
}

// hold notes a task that another replica has created.
func (s *slots) hold(token string, n int, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.used[token]; !known {
		s.put(token, usage{n: n, held: true, at: now})
		s.raise()
	}
}

// put and remove keep the sums; the caller holds the mutex.
func (s *slots) put(token string, u usage) {
	s.remove(token)
	s.used[token] = u
	if u.held {
		s.held += u.n
	} else {
		s.reserved += u.n
	}
}

func (s *slots) remove(token string) {
	u, ok := s.used[token]
	if !ok {
		return
	}
	delete(s.used, token)
	if u.held {
		s.held -= u.n
	} else {
		s.reserved -= u.n
	}
}

// beginRecount marks the start of a recount: events are at most once, so what is in flight is now and then read from
// the stream. What ends while the stream is being read must not come back.
func (s *slots) beginRecount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removed = map[string]bool{}
}

// endRecount takes over what the stream says is in flight, by token. Reservations and what was added since began stay.
func (s *slots) endRecount(stored map[string]int, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, u := range s.used {
		if _, ok := stored[token]; !ok && u.held && u.at.Before(began) {
			s.remove(token)
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

// nextProbe is when a full pool may be tried with one more; zero while there is room.
func (s *slots) nextProbe() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probeAt
}
