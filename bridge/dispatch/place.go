package dispatch

import "cmp"

// place is where an announcement comes in an order that all replicas agree on: after those that its replica had heard of,
// and of those that crossed each other, by token.
type place struct {
	clock uint64
	token string
}

func (p place) before(other place) bool {
	return cmp.Or(cmp.Compare(p.clock, other.clock), cmp.Compare(p.token, other.token)) < 0
}

// afterAll is the place of a request that comes after all that have been heard of.
func afterAll(token string) place { return place{maxClock + 1, token} }

// standing is what becomes of a reservation beside those that other replicas have made before.
type standing int

const (
	stands standing = iota
	beyondBound
	beyondLimit
)

// standing tells whether there is room for all that is held, and reserved by requests that don't come after one that has just
// reserved n. One that was let beyond a limit is to show whether that holds.
func (s *Slots) standing(at place, n int) standing {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.used.get(at.token)
	later, own := s.later(at, u.Model)
	total := s.reserved + s.held - later
	if s.bound > 0 && total > s.bound && total > n {
		return beyondBound
	}
	if !known || u.held || u.overPool || u.overOwn {
		return stands
	}
	m := s.model(u.Model)
	ownLimit, _ := s.ownLimit(u.Model)
	if s.limit != UnknownLimit && total > s.limit || ownLimit != UnknownLimit && m.reserved+m.held-own > ownLimit {
		return beyondLimit
	}
	return stands
}

// later sums up what is reserved by requests that come after one, and of that what is for a model; the caller holds the mutex.
func (s *Slots) later(at place, model string) (all, own int) {
	if at == afterAll(at.token) {
		return 0, 0
	}
	for token, u := range s.used.reserved {
		if !at.before(place{u.clock, token}) {
			continue
		}
		all += u.N
		if u.Model == model {
			own += u.N
		}
	}
	return all, own
}

// after sums up what is reserved by requests that come after one.
func (s *Slots) after(at place) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, _ := s.later(at, "")
	return all
}

// told notes the place of a reservation of this replica among those of others.
func (s *Slots) told(at place) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, known := s.used.reserved[at.token]; known {
		u.clock = at.clock
		s.used.reserved[at.token] = u
	}
}
