package dispatch

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
)

// Share is what one account has of a pool: Kling counts the slots of each account by itself.
type Share struct {
	Account string
	Slots   *Slots
	Pauses  *Pauses

	soonSince time.Time // it was asked for slots that calls under way may leave; zero: it has given some since
}

// Order is how a request finds its account among those that could take it.
type Order string

// The orders.
const (
	OrderPrefer Order = "prefer" // the first that has room
	OrderSpread Order = "spread" // the one with the most room
)

// soonPatience is how long a preferred account may let requests wait for what becomes of calls under way before they go on to
// the next one.
const soonPatience = time.Second

// shares are those of all accounts in a pool.
type shares struct {
	pool  kling.Pool
	all   []*Share // of the accounts there are, in order of preference
	order Order
	bound int // configured upper bound on the slots of all accounts together; 0: none

	mu     sync.Mutex
	strays []*Share // of accounts that are not configured any more, and have tasks
	gone   departed
}

// maxStrays bounds the accounts that are counted and not configured.
const maxStrays = 64

// of returns the share of an account that is configured, or was met before; nil: there is none.
func (s *shares) of(account string) *Share {
	for _, share := range s.all {
		if share.Account == account {
			return share
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stray(account)
}

// stray finds the share of an account that is not configured; the caller holds the mutex.
func (s *shares) stray(account string) *Share {
	for _, share := range s.strays {
		if share.Account == account {
			return share
		}
	}
	return nil
}

// meet is of for an account that is known to have tasks. Nil: there are too many that are not configured.
func (s *shares) meet(account string) *Share {
	if share := s.of(account); share != nil {
		return share
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if share := s.stray(account); share != nil || len(s.strays) >= maxStrays {
		return share
	}
	share := &Share{Account: account, Slots: NewSlots(0)}
	s.strays = append(s.strays, share)
	return share
}

// met lists all shares, those of accounts that are not configured last.
func (s *shares) met() []*Share {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.strays) == 0 {
		return s.all
	}
	return slices.Concat(s.all, s.strays)
}

// seated returns the share in which a request takes slots; nil: in none that is known.
func (s *shares) seated(token string) *Share {
	for _, share := range s.met() {
		if _, known := share.Slots.need(token); known {
			return share
		}
	}
	return nil
}

// candidates lists the accounts that a request may go to: all, or the one that it demands or is bound to. None: that one is
// not configured.
func (s *shares) candidates(j *Job) []*Share {
	only := cmp.Or(j.bound, j.Req.Account)
	if only == "" {
		return s.all
	}
	for i, share := range s.all {
		if share.Account == only {
			return s.all[i : i+1]
		}
	}
	return nil
}

// ranked lists the accounts in the order in which they are asked for slots.
func (s *shares) ranked() []*Share {
	if s.order != OrderSpread || len(s.all) == 1 {
		return s.all
	}
	free := make(map[*Share]int, len(s.all))
	for _, share := range s.all {
		free[share] = share.Slots.free()
	}
	return slices.SortedStableFunc(slices.Values(s.all), func(a, b *Share) int { return cmp.Compare(free[b], free[a]) })
}

// fits reports whether the bound of all accounts together has room for n slots more.
func (s *shares) fits(n int) bool {
	if s.bound == 0 {
		return true
	}
	used := s.used()
	return used == 0 || used+n <= s.bound
}

// used sums up what all accounts have taken.
func (s *shares) used() (n int) {
	for _, share := range s.met() {
		used, _, _ := share.Slots.Measure()
		n += used
	}
	return n
}

// bounded reports whether there is a configured bound on an account, or on all.
func (s *shares) bounded(account string) bool {
	share := s.of(account)
	return s.bound > 0 || share != nil && share.Slots.bounded()
}

// standing tells whether there is room for all that is held, and reserved by requests that don't come after one that has just
// reserved n on an account.
func (s *shares) standing(account string, at place, n int) standing {
	is := stands
	if share := s.of(account); share != nil {
		is = share.Slots.standing(at, n)
	}
	if s.bound == 0 || is == beyondBound {
		return is
	}
	used := s.used()
	for _, share := range s.met() {
		used -= share.Slots.after(at)
	}
	if used > s.bound && used > n {
		return beyondBound
	}
	return is
}

// slots returns the slots of an account; nil: it is not known.
func (s *shares) slots(account string) *Slots {
	if share := s.of(account); share != nil {
		return share.Slots
	}
	return nil
}

// hold notes a task of an account. It is on no other.
func (s *shares) hold(account, token string, of request.Need, now time.Time) {
	s.put(account, token, of, (*Slots).hold, now)
}

// put notes a task of an account in a way, unless its request has ended.
func (s *shares) put(account, token string, of request.Need, how func(*Slots, string, request.Need, time.Time), now time.Time) {
	if s.gone.has(token, now) {
		return
	}
	share := s.meet(account)
	for _, other := range s.met() {
		if other != share {
			other.Slots.displace(token)
		}
	}
	if share != nil {
		how(share.Slots, token, of, now)
	}
}

// room is how many requests are worth holding ready.
func (s *shares) room() (n int) {
	for _, share := range s.all {
		n += share.Slots.room()
	}
	return min(n, maxWindow)
}

// open reports whether nothing keeps a request of the kind from being sent there.
func (s *Share) open(k kling.Kind) bool { return !s.Pauses.holds(k) }

// patient reports whether a request rather waits for this account than to go on to the next: there may be room as soon as
// calls under way are answered.
func (s *Share) patient(now time.Time) bool {
	if s.soonSince.IsZero() {
		s.soonSince = now
	}
	return now.Sub(s.soonSince) < soonPatience
}

// free is how many slots are free as far as is known. While that is not known of two accounts, more are free where fewer are
// taken.
func (s *Slots) free() int {
	const plenty = 1 << 20
	s.mu.Lock()
	defer s.mu.Unlock()
	most := plenty
	if s.limit != UnknownLimit {
		most = s.limit
	}
	if s.bound > 0 {
		most = min(most, s.bound)
	}
	return most - s.reserved - s.held
}

// displace forgets what a request takes that is known to be on another account, but for what this replica has reserved.
func (s *Slots) displace(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u, known := s.used.get(token); known && (u.held || u.foreign) {
		s.forget(token)
	}
}

// plain reports whether there is one account only, which was not given a name.
func (s *shares) plain() bool { return len(s.all) == 1 && s.all[0].Account == kling.DefaultAccount }

// Arrange says how requests find their account, and how many slots all accounts may take together; bound 0: as many as there
// are. It has to be called before the pool is used.
func (s *shares) Arrange(order Order, bound int) {
	s.order = order
	if len(s.all) > 1 {
		s.bound = bound
		return
	}
	only := s.all[0].Slots
	if bound > 0 && (only.bound == 0 || bound < only.bound) {
		only.bound = bound
	}
}
