package dispatch

import (
	"fmt"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// Measure returns the slots in use, the learned limit or unknownLimit, and the configured bound or 0.
func (s *Slots) Measure() (used, limit, bound int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserved + s.held, s.limit, s.bound
}

// MeasureModel returns the slots of a model in use, and those that it is known to have by itself or unknownLimit. Where the
// pool may be what is full, that is not known.
func (s *Slots) MeasureModel(model string) (used, own int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.models[model]
	if m == nil {
		return 0, UnknownLimit
	}
	return m.reserved + m.held, m.limit
}

// limits returns the learned limits of the pool and of a model in it, or unknownLimit.
func (s *Slots) limits(model string) (pool, own int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, _ = s.ownLimit(model)
	return s.limit, own
}

// Status tells how many slots are taken and how many there are, and of how many tasks; also account by account, unless there
// is one only, which was not given a name.
func (p *Pool) Status() (pool events.PoolStatus, tasks int) {
	pool.Pool = string(p.pool)
	limit, limited := 0, true
	for _, share := range p.met() {
		of, n := share.Slots.Status()
		pool.InFlight, tasks = pool.InFlight+of.InFlight, tasks+n
		if share.Pauses == nil {
			if n > 0 {
				pool.Accounts = append(pool.Accounts, of.of(share.Account))
			}
			continue
		}
		limited = limited && of.Limit != nil
		if of.Limit != nil {
			limit += *of.Limit
		}
		if len(p.all) == 1 {
			pool.Cap = of.Cap
		}
		if !p.plain() {
			pool.Accounts = append(pool.Accounts, of.of(share.Account))
		}
	}
	if limited {
		pool.Limit = &limit
	}
	if bound := p.bound; bound > 0 {
		pool.Cap = &bound
	}
	return pool, tasks
}

// slotStatus is that of one account's slots.
type slotStatus struct {
	InFlight   int
	Limit, Cap *int
}

func (s slotStatus) of(account string) events.AccountStatus {
	return events.AccountStatus{Account: account, InFlight: s.InFlight, Limit: s.Limit, Cap: s.Cap, Paused: []string{}}
}

// Status tells how many slots are taken and how many there are, and of how many tasks.
func (s *Slots) Status() (status slotStatus, tasks int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	status.InFlight = s.reserved + s.held
	if limit := s.limit; limit != UnknownLimit {
		status.Limit = &limit
	}
	if bound := s.bound; bound > 0 {
		status.Cap = &bound
	}
	return status, len(s.used.tasks)
}

// Wait is what keeps a request from being a task.
type Wait struct {
	For   events.WaitReason
	Until time.Time // zero: not known
	Text  string    // for people, after the words "waits for"
}

// TriedAgain tells why a request is tried again and when, as "Kling: connection refused, 7 tries, next in 42 s". It is not ok if
// the request is not, or another replica has it.
func (p *Pool) TriedAgain(token string) (w Wait, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.delayed {
		if d.job.Req.Token == token && d.why != "" {
			text := fmt.Sprintf("%s, next in %.0f s", d.why, max(time.Until(d.at), 0).Seconds())
			return Wait{For: events.WaitForAgain, Until: d.at, Text: text}, true
		}
	}
	return Wait{}, false
}

// WaitsFor tells what keeps a request from being sent where nothing is paused, as far as this replica knows.
func (p *Pool) WaitsFor(r *request.Request) Wait {
	var full []string
	for _, share := range p.candidates(&Job{Req: r}) {
		if !share.open(r.Kind) {
			continue
		}
		taken := share.taken(p.pool, r.Need().Model)
		if taken == "" {
			full = nil
			break
		}
		if !p.plain() {
			taken += " on account " + share.Account
		}
		full = append(full, taken)
	}
	used := p.used()
	switch {
	case p.bound > 0 && used >= p.bound:
		return Wait{For: events.WaitForSlot, Text: fmt.Sprintf("a slot of pool %s (%d of %d taken)", p.pool, used, p.bound)}
	case len(full) == 0:
		return Wait{For: events.WaitForTurn, Text: "its turn"}
	default:
		return Wait{For: events.WaitForSlot, Text: "a slot of " + strings.Join(full, ", or of ")}
	}
}

// taken says which slots are all taken; empty: none are.
func (s *Share) taken(pool kling.Pool, model string) string {
	if used, own := s.Slots.MeasureModel(model); own != UnknownLimit && used >= own {
		return fmt.Sprintf("model %s (%d of %d taken)", model, used, own)
	}
	used, most, bound := s.Slots.Measure()
	if bound > 0 && (most == UnknownLimit || bound < most) {
		most = bound
	}
	if most == UnknownLimit || used < most {
		return ""
	}
	return fmt.Sprintf("pool %s (%d of %d taken)", pool, used, most)
}
