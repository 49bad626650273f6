package bridge

import (
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// next picks the job to start now, if there is one, and reserves its slots.
func (p *pool) next(now time.Time) *job {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.promote(now)
	if j := p.nextSlotless(now); j != nil {
		return j
	}
	if p.running >= maxWindow {
		return nil
	}
	if j := p.nextSeated(now); j != nil {
		return j
	}
	if j := p.nextProbe(now); j != nil {
		return j
	}
	was := p.stillBlocked()
	p.blocked = blocked{}
	if p.turns.yields(was.severalSince(), now) {
		p.blocked = was
		return nil
	}
	for _, priority := range p.order() {
		j, waits := p.nextOf(priority, now)
		if waits != nil { // nothing overtakes it, or a request for many images would never start
			p.blocked = blocked{waits, now}
			if was.job == waits {
				p.blocked = was
			}
			return nil
		}
		if j != nil {
			return j
		}
	}
	return nil
}

// stillBlocked is what was blocked last, unless that is over: the request was cancelled, has expired or was looked up.
func (p *pool) stillBlocked() blocked {
	if p.blocked.job != nil && slices.Contains(p.ready[p.key(p.blocked.job)], p.blocked.job) {
		return p.blocked
	}
	return blocked{}
}

// severalSince is when a request that needs more than one slot began to wait; zero: none does.
func (b blocked) severalSince() time.Time {
	if b.job == nil || b.job.req.slots < 2 {
		return time.Time{}
	}
	return b.since
}

// promote moves jobs whose delay is over to the front of their lanes.
func (p *pool) promote(now time.Time) {
	p.delayed = slices.DeleteFunc(p.delayed, func(d delayedJob) bool {
		if d.at.After(now) {
			return false
		}
		key := p.key(d.job)
		p.ready[key] = slices.Insert(p.ready[key], 0, d.job)
		if p.parked(d.job) {
			p.signalRoom()
		}
		return true
	})
}

// nextSlotless picks a job that will not become a task: it is invalid or its deadline has passed.
func (p *pool) nextSlotless(now time.Time) *job {
	if p.serverTime != nil {
		now = p.serverTime()
	}
	for key, jobs := range p.ready {
		for i, j := range jobs {
			if j.invalid != nil || !now.Before(j.req.deadline) {
				p.ready[key] = slices.Delete(jobs, i, i+1)
				p.running++
				return j
			}
		}
	}
	return nil
}

// nextSeated picks a job that has its slots already, and so waits behind nobody: it is to be looked up, or was taken over
// from a replica that died with it.
func (p *pool) nextSeated(now time.Time) *job {
	for key, jobs := range p.ready {
		for i, j := range jobs {
			_, known := p.slots.weight(j.req.token)
			if (j.reserved || known) && p.pauses.allowQuery(j.req.kind, now) {
				p.ready[key] = slices.Delete(jobs, i, i+1)
				p.running++
				j.passed = p.passed[key.priority]
				return j
			}
		}
	}
	return nil
}

// order is high, normal, low, except that a lower priority which has been passed over long enough comes first.
func (p *pool) order() []events.Priority {
	order := make([]events.Priority, 0, 5)
	for _, low := range []events.Priority{events.PriorityLow, events.PriorityNormal} {
		if p.passed[low] >= share-2 { // one less than its share: both lower ones may be due at once
			order = append(order, low)
		}
	}
	return append(order, events.Priorities()...)
}

// nextOf picks the first job of a priority, or names the one that waits for slots. Requests that need more slots than
// the pool has are passed over: they are tried when the pool is. So are those that a pause covers.
func (p *pool) nextOf(priority events.Priority, now time.Time) (next, waits *job) {
	generations := kling.Generations()
	for i := range generations {
		g := generations[(p.turn+i)%len(generations)]
		key := laneKey{pool: p.name, generation: g, priority: priority}
		for at, j := range p.ready[key] {
			if p.pauses.holds(j.req.kind) {
				continue // it has its turn as a probe
			}
			ok, owned := p.slots.reserve(j.req.token, j.req.slots, now)
			if !ok && p.slots.never(j.req.slots) {
				continue
			}
			if !ok {
				return nil, j
			}
			j.reserved, j.cleared = owned, true
			p.ready[key] = slices.Delete(p.ready[key], at, at+1)
			p.running++
			p.turn += i + 1 // the other generation is next
			j.passed = p.passed[priority]
			p.countTurn(priority)
			return j, nil
		}
	}
	return nil, nil
}

// countTurn notes which waiting priorities were passed over.
func (p *pool) countTurn(taken events.Priority) {
	waiting := map[events.Priority]bool{}
	for key, jobs := range p.ready {
		if key.priority != taken && len(jobs) > 0 {
			waiting[key.priority] = true
		}
	}
	for priority := range waiting {
		p.passed[priority]++
	}
	p.passed[taken] = 0
}
