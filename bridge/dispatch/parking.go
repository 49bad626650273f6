package dispatch

import (
	"cmp"
	"log/slog"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// A request is parked while it waits for something that concerns only some requests of its lane, such as a kind that is
// paused. It takes none of the room of its lane, so that those behind it come through. A pool parks a bounded number; what
// is more goes back to the stream for a while.
const (
	maxParked      = 200
	maxParkedBytes = 32 << 20
	// longestAway bounds the time that a request is given back for.
	longestAway = 5 * time.Minute
)

// parked reports whether a request waits for what others of its lane need not wait for: its kind is paused on every account
// that it may go to, or there are others than those.
func (p *Pool) parked(j *Job) bool {
	candidates, byKind := p.candidates(j), false
	for _, share := range candidates {
		if share.open(j.Req.Kind) {
			return false
		}
		byKind = byKind || share.Pauses.holdsKind(j.Req.Kind)
	}
	return byKind || len(candidates) > 0 && len(candidates) < len(p.all)
}

// park gives a delivered request that would be parked back to the stream if enough are; the caller holds the mutex.
func (p *Pool) park(j *Job) (away bool) {
	if !p.parked(j) {
		return p.sendAway(j)
	}
	n, bytes := 0, j.size
	for _, jobs := range p.ready {
		for _, other := range jobs {
			if p.parked(other) {
				n, bytes = n+1, bytes+other.size
			}
		}
	}
	if n < maxParked && (n == 0 || bytes <= maxParkedBytes) {
		return false
	}
	wait := min(p.all[0].Pauses.Interval*time.Duration(min(max(j.Delivered, 1), 16)), longestAway)
	wait = wait/2 + mathrand.N(wait)
	p.log.Debug("given back while its kind waits", slog.String("request_id", j.Req.ID), slog.Duration("wait", wait))
	j.span.End()
	_ = j.Msg.NakWithDelay(wait) // without it the request comes back after the ack wait
	return true
}

// aside counts the requests of a lane that others need not wait for: those that are parked, those of a model that is full,
// and some that need more slots than there are. The caller holds the mutex.
func (p *Pool) aside(key Lane) (n int) {
	oversized, crowds := 0, p.crowds()
	for _, j := range p.ready[key] {
		switch {
		case p.parked(j):
			n++
		case crowds.aside(j):
			n++
		case crowds.never(j) && oversized < maxOversized:
			oversized++
		}
	}
	return n + oversized
}

// nextProbe picks the request that tries whether a pause of an account is over, if it is time. Each is another one where there
// is one: of another kind if the pause covers several, else the one that was tried least. The caller holds the mutex.
func (p *Pool) nextProbe(now time.Time) *Job {
	for _, share := range p.all {
		if !share.Pauses.any() {
			continue
		}
		if j := p.nextProbeOf(share, now); j != nil {
			return j
		}
	}
	return nil
}

// mayProbe reports whether a request may try an account that is paused. One that has done so goes to others where it can. While
// they are full it may try again: a replica whose requests have all tried would not learn that the pause is over.
func (p *Pool) mayProbe(j *Job, share *Share, now time.Time) bool {
	candidates, of := p.candidates(j), j.Req.Need()
	elsewhere := slices.ContainsFunc(candidates, func(s *Share) bool { return s.open(j.Req.Kind) && !s.Slots.full(of, now) })
	return slices.Contains(candidates, share) && (j.probes == 0 || !elsewhere)
}

func (p *Pool) nextProbeOf(share *Share, now time.Time) *Job {
	var best *Job
	for _, jobs := range p.ready {
		for _, j := range jobs {
			at, _, paused := share.Pauses.Probe(j.Req.Kind)
			due := paused && !now.Before(at) && p.mayProbe(j, share, now)
			if due && (best == nil || probesBefore(share.Pauses, j, best)) {
				best = j
			}
		}
	}
	if best == nil || !p.fits(best.Req.Slots) {
		return nil
	}
	got := share.Slots.reserve(best.Req.Token, best.Req.Need(), now)
	if !got.ok {
		return nil
	}
	best.sit(share, got.owned)
	if !share.Pauses.allow(best.Req.Kind, now) { // another pool has been faster
		p.giveBack(best)
		return nil
	}
	best.cleared, best.probing = true, true
	key := p.key(best)
	at := slices.Index(p.ready[key], best)
	p.ready[key] = slices.Delete(p.ready[key], at, at+1)
	p.running++
	best.passed = p.passed[best.Req.Priority]
	return best
}

// probesBefore orders the requests that may be the next probe.
func probesBefore(p *Pauses, a, b *Job) bool {
	repeats := func(j *Job) int {
		if _, last, _ := p.Probe(j.Req.Kind); last == j.Req.Kind.Name {
			return 1
		}
		return 0
	}
	rank := func(j *Job) int { return slices.Index(events.Priorities(), j.Req.Priority) }
	return cmp.Or(cmp.Compare(repeats(a), repeats(b)), cmp.Compare(a.probes, b.probes), cmp.Compare(rank(a), rank(b)),
		cmp.Compare(a.Req.Sequence, b.Req.Sequence)) < 0
}
