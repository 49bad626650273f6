package dispatch

import (
	"maps"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// next picks the job to start now, if there is one, and reserves its slots.
func (p *Pool) next(now time.Time) *Job {
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
	scan := scan{left: p.turns.yields(p.severalSince(), now), waiting: map[string]*Job{}, passed: map[string]bool{}}
	if scan.left[""] {
		return nil
	}
	for _, priority := range p.order() {
		if j := p.nextOf(priority, &scan, now); j != nil {
			return j
		}
	}
	p.blocked = scan.waiting
	return nil
}

// scan is one look through the requests in hand, in order.
type scan struct {
	left    map[string]bool // models whose slots are left to other replicas
	waiting map[string]*Job // first requests that wait for slots of a model, or of the pool: empty
	passed  map[string]bool // models of which a request waits for the pool
}

// stillBlocked is what was blocked last, except what is over: the request was cancelled, has expired or was looked up. The
// caller holds the mutex.
func (p *Pool) stillBlocked() map[string]*Job {
	maps.DeleteFunc(p.blocked, func(_ string, j *Job) bool { return !slices.Contains(p.ready[p.key(j)], j) })
	return p.blocked
}

// severalSince is since when requests wait that need more than one slot, by what they wait for.
func (p *Pool) severalSince() map[string]time.Time {
	since := map[string]time.Time{}
	for model, j := range p.stillBlocked() {
		if j.Req.Slots > 1 {
			since[model] = j.waits
		}
	}
	return since
}

// promote moves jobs whose delay is over to the front of their lanes.
func (p *Pool) promote(now time.Time) {
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
func (p *Pool) nextSlotless(now time.Time) *Job {
	if p.ServerTime != nil {
		now = p.ServerTime()
	}
	for key, jobs := range p.ready {
		for i, j := range jobs {
			if j.Invalid != nil || !now.Before(j.Req.Deadline) {
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
func (p *Pool) nextSeated(now time.Time) *Job {
	for key, jobs := range p.ready {
		for i, j := range jobs {
			_, known := p.Slots.need(j.Req.Token)
			if (j.reserved || known) && p.pauses.allowQuery(j.Req.Kind, now) {
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
func (p *Pool) order() []events.Priority {
	order := make([]events.Priority, 0, 5)
	for _, low := range []events.Priority{events.PriorityLow, events.PriorityNormal} {
		if p.passed[low] >= share-2 { // one less than its share: both lower ones may be due at once
			order = append(order, low)
		}
	}
	return append(order, events.Priorities()...)
}

// nextOf picks the first job of a priority that has its slots.
func (p *Pool) nextOf(priority events.Priority, scan *scan, now time.Time) *Job {
	generations := kling.Generations()
	for i := range generations {
		g := generations[(p.turn+i)%len(generations)]
		key := Lane{Pool: p.name, Generation: g, priority: priority}
		for at, j := range p.ready[key] {
			if p.pauses.holds(j.Req.Kind) {
				continue // it has its turn as a probe
			}
			if !p.seat(j, scan, now) {
				continue
			}
			j.cleared = true
			p.ready[key] = slices.Delete(p.ready[key], at, at+1)
			p.running++
			p.turn += i + 1 // the other generation is next
			j.passed = p.passed[priority]
			p.countTurn(priority)
			return j
		}
	}
	return nil
}

// seat reserves the slots of a job, if it is its turn. Nothing overtakes the first request that waits, or one for many images
// would never start, except that a model that is full holds up no other, and that what needs more slots than there are
// is passed over: it is tried when the pool is.
func (p *Pool) seat(j *Job, scan *scan, now time.Time) bool {
	of := j.Req.Need()
	if scan.holds(of.Model) {
		return false
	}
	ask := p.Slots.reserve
	if scan.waiting[""] != nil {
		ask = p.Slots.try
	}
	got := ask(j.Req.Token, of, now)
	if got.ok {
		j.reserved = got.owned
		return true
	}
	if !p.Slots.never(of) {
		scan.wait(j, got.full, now)
	}
	return false
}

// holds reports whether no request of a model can have its turn any more.
func (s *scan) holds(model string) bool {
	return s.left[model] || s.waiting[model] != nil || s.passed[model]
}

// wait notes the first request of a model, and of the pool, that has no slots.
func (s *scan) wait(j *Job, why full, now time.Time) {
	if j.waits.IsZero() {
		j.waits = now
	}
	model := j.Req.Need().Model
	switch {
	case why == fullModel:
		s.waiting[model] = j
	case s.waiting[""] == nil:
		s.waiting[""] = j
		s.passed[model] = true
	default:
		s.passed[model] = true
	}
}

// countTurn notes which waiting priorities were passed over.
func (p *Pool) countTurn(taken events.Priority) {
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
