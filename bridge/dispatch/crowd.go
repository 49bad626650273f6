package dispatch

import (
	"cmp"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/request"
)

// Requests of a model that is full take none of the room of their lane, so that those of other models come through. A pool
// holds a bounded number of them. What is more goes back to the stream for a while if the model is certainly full. While
// the pool may be what is full, it stays there: to have it go to and fro would help nobody if there is one model only.
const (
	maxCrowded  = 1000
	crowdedAway = 5 * time.Second
	maxAway     = time.Minute
)

// crowds tells which requests in hand wait for a model that is full, at one moment.
type crowds struct {
	pool *Pool
	seen map[crowdKey]crowd
	full bool // there are as many as may be held
}

type crowdKey struct {
	request.Need
	account string // that the request is for; empty: any
}

// crowd is what is known of the slots that a request needs.
type crowd struct {
	waits   bool // the model has not as many
	certain bool // and the pool is not what is full
	never   bool // there are not as many at all
}

// crowds looks at the requests in hand; the caller holds the mutex.
func (p *Pool) crowds() *crowds {
	c := &crowds{pool: p, seen: map[crowdKey]crowd{}}
	n, bytes := 0, 0
	for _, jobs := range p.ready {
		for _, j := range jobs {
			if c.of(j).waits {
				n, bytes = n+1, bytes+j.size
			}
		}
	}
	c.full = n >= maxCrowded || bytes > maxParkedBytes
	return c
}

func (c *crowds) of(j *Job) crowd {
	of := crowdKey{j.Req.Need(), cmp.Or(j.bound, j.Req.Account)}
	known, ok := c.seen[of]
	if !ok {
		known = c.pool.crowd(j)
		c.seen[of] = known
	}
	return known
}

func (c *crowds) never(j *Job) bool { return c.of(j).never }

// aside reports whether requests behind this one need not wait for it.
func (c *crowds) aside(j *Job) bool {
	known := c.of(j)
	return known.waits && (known.certain || !c.full)
}

// crowd tells what is known of the slots that a request needs, on all accounts that it may go to and that are not paused.
func (p *Pool) crowd(j *Job) crowd {
	candidates := p.candidates(j)
	open := slices.Collect(func(yield func(*Share) bool) {
		for _, share := range candidates {
			if share.open(j.Req.Kind) && !yield(share) {
				return
			}
		}
	})
	if len(open) == 0 {
		open = candidates
	}
	all := crowd{waits: len(open) > 0, certain: true, never: len(open) > 0}
	for _, share := range open {
		of := share.Slots.crowd(j.Req.Need())
		if len(candidates) < len(p.all) && share.Slots.free() < j.Req.Slots { // others may go to accounts that have room
			of.waits, of.certain = true, true
		}
		all.waits, all.certain, all.never = all.waits && of.waits, all.certain && of.certain, all.never && of.never
	}
	return all
}

// crowd tells what is known of slots.
func (s *Slots) crowd(of request.Need) crowd {
	never := s.never(of)
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.model(of.Model)
	own, certain := s.ownLimit(of.Model)
	return crowd{waits: own != UnknownLimit && m.reserved+m.held+of.N > own, certain: certain, never: never}
}

// sendAway gives a delivered request of a model that is full back to the stream if enough are held; the caller holds the
// mutex.
func (p *Pool) sendAway(j *Job) (away bool) {
	known := p.crowd(j)
	seated := p.seated(j.Req.Token)
	if !known.waits || !known.certain || seated != nil || j.Invalid != nil || !p.crowds().full {
		return false
	}
	wait := min(crowdedAway*time.Duration(min(max(j.Delivered, 1), 16)), maxAway)
	wait = wait/2 + mathrand.N(wait)
	p.log.Debug("given back while its model is full", slog.String("request_id", j.Req.ID), slog.Duration("wait", wait))
	j.span.End()
	_ = j.Msg.NakWithDelay(wait) // without it the request comes back after the ack wait
	return true
}
