package dispatch

import (
	"cmp"
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
	if !p.waiting() { // as most often: each event and each piece of news wakes the pool
		p.blocked = nil
		return nil
	}
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
	left := p.turns.yields(p.severalSince(), now)
	if left[want{}] {
		return nil
	}
	scan := p.newScan(left)
	for _, priority := range p.priorities() {
		if j := p.nextOf(priority, scan, now); j != nil {
			return j
		}
	}
	p.blocked = scan.blocked()
	return nil
}

// waiting reports whether requests in hand wait for anything; the caller holds the mutex.
func (p *Pool) waiting() bool {
	for _, jobs := range p.ready {
		if len(jobs) > 0 {
			return true
		}
	}
	return false
}

// want is what a request waits for: slots of an account, where it may go to no other, and of a model, where that is what is
// full. Empty: any account, and the pool.
type want struct{ account, model string }

// scan is one look through the requests in hand, in order, by the accounts whose slots they ask for.
type scan []*queue

// queue is who waits for the slots of one account.
type queue struct {
	*Share
	left    map[want]bool   // slots that are left to other replicas
	waiting map[string]*Job // first requests that wait for slots of a model, or of the pool: empty
	passed  map[string]bool // models of which a request waits for the pool
	soon    bool            // there may be room once calls are answered
}

func (p *Pool) newScan(left map[want]bool) scan {
	all := p.ranked()
	s := make(scan, len(all))
	for i, share := range all {
		s[i] = &queue{Share: share, left: left, waiting: map[string]*Job{}, passed: map[string]bool{}}
	}
	return s
}

// blocked lists the first requests that wait.
func (s scan) blocked() map[want]*Job {
	first := map[want]*Job{}
	for _, q := range s {
		for model, j := range q.waiting {
			w := want{cmp.Or(j.bound, j.Req.Account), model}
			if first[w] == nil {
				first[w] = j
			}
		}
	}
	return first
}

// stillBlocked is what was blocked last, except what is over: the request was cancelled, has expired or was looked up. The
// caller holds the mutex.
func (p *Pool) stillBlocked() map[want]*Job {
	maps.DeleteFunc(p.blocked, func(_ want, j *Job) bool { return !slices.Contains(p.ready[p.key(j)], j) })
	return p.blocked
}

// severalSince is since when requests wait that need more than one slot, by what they wait for.
func (p *Pool) severalSince() map[want]time.Time {
	since := map[want]time.Time{}
	for w, j := range p.stillBlocked() {
		if j.Req.Slots > 1 {
			since[w] = j.waits
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
		return true
	})
}

// nextSlotless picks a job that will not become a task, now at least: it is invalid, its deadline has passed, or the account
// that it is for is not configured.
func (p *Pool) nextSlotless(now time.Time) *Job {
	if p.ServerTime != nil {
		now = p.ServerTime()
	}
	for key, jobs := range p.ready {
		for i, j := range jobs {
			if j.Invalid != nil || !now.Before(j.Req.Deadline) || len(p.candidates(j)) == 0 {
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
			share := j.share
			if !j.reserved {
				share = p.seated(j.Req.Token)
			}
			if share != nil && share.mayAsk(j.Req.Kind, now) {
				j.share = share
				p.ready[key] = slices.Delete(jobs, i, i+1)
				p.running++
				j.passed = p.passed[key.priority]
				return j
			}
		}
	}
	return nil
}

// mayAsk reports whether Kling may be asked about a task of the account. Who comes about one that is not configured is told so.
func (s *Share) mayAsk(k kling.Kind, now time.Time) bool {
	return s.Pauses == nil || s.Pauses.allowQuery(k, now)
}

// priorities is high, normal, low, except that a lower priority which has been passed over long enough comes first.
func (p *Pool) priorities() []events.Priority {
	order := make([]events.Priority, 0, 5)
	for _, low := range []events.Priority{events.PriorityLow, events.PriorityNormal} {
		if p.passed[low] >= share-2 { // one less than its share: both lower ones may be due at once
			order = append(order, low)
		}
	}
	return append(order, events.Priorities()...)
}

// nextOf picks the first job of a priority that has its slots.
func (p *Pool) nextOf(priority events.Priority, scan scan, now time.Time) *Job {
	generations := kling.Generations()
	for i := range generations {
		g := generations[(p.turn+i)%len(generations)]
		key := Lane{Pool: p.pool, Generation: g, priority: priority}
		for at, j := range p.ready[key] {
			if !p.seat(j, scan, now) {
				continue
			}
			j.cleared = true
			p.handOver(j, now)
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

// seat reserves the slots of a job on the first account that has them, if it is its turn. One that is paused has its turn with
// a probe.
func (p *Pool) seat(j *Job, scan scan, now time.Time) bool {
	candidates := p.candidates(j)
	for _, q := range scan {
		if !slices.Contains(candidates, q.Share) || !q.open(j.Req.Kind) {
			continue
		}
		if !p.fits(j.Req.Slots) {
			q.wait(j, fullPool, now)
			continue
		}
		if q.seat(j, now) {
			return true
		}
		if q.soon && len(candidates) > 1 && p.order != OrderSpread && q.patient(now) {
			return false
		}
	}
	return false
}

// seat reserves the slots of a job on an account. Nothing overtakes the first request that waits, or one for many images would
// never start, except that a model that is full holds up no other, and that what needs more slots than there are is passed
// over: it is tried when the pool is.
func (q *queue) seat(j *Job, now time.Time) bool {
	of := j.Req.Need()
	if q.holds(of.Model) {
		return false
	}
	ask := q.Slots.reserve
	if q.waiting[""] != nil {
		ask = q.Slots.try
	}
	got := ask(j.Req.Token, of, now)
	if got.ok {
		j.sit(q.Share, got.owned)
		q.soonSince = time.Time{}
		return true
	}
	q.soon = q.soon || got.soon
	if !q.Slots.never(of) {
		q.wait(j, got.full, now)
	}
	return false
}

// holds reports whether no request of a model can have its turn any more.
func (q *queue) holds(model string) bool {
	left := q.left[want{model: model}] || q.left[want{q.Account, model}] || q.left[want{account: q.Account}]
	return left || q.waiting[model] != nil || q.passed[model]
}

// wait notes the first request of a model, and of the pool, that has no slots.
func (q *queue) wait(j *Job, why full, now time.Time) {
	if j.waits.IsZero() {
		j.waits = now
	}
	model := j.Req.Need().Model
	switch {
	case why == fullModel:
		q.waiting[model] = j
	case q.waiting[""] == nil:
		q.waiting[""] = j
		q.passed[model] = true
	default:
		q.passed[model] = true
	}
}

// maxHandover is how long a freed slot is one that a request may just have got: another replica may have it.
const maxHandover = time.Second

// handOver notes since when the slots are free that a request has got.
func (p *Pool) handOver(j *Job, now time.Time) {
	p.freed = slices.DeleteFunc(p.freed, func(at time.Time) bool { return now.Sub(at) > maxHandover })
	if j.freed = (time.Time{}); len(p.freed) > 0 {
		j.freed = p.freed[0]
		p.freed = slices.Delete(p.freed, 0, 1)
	}
}

// noteFreed notes that a slot is free which this replica may take at once, if requests wait for one.
func (p *Pool) noteFreed(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.blocked) > 0 && len(p.freed) < maxWindow {
		p.freed = append(p.freed, now)
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
