package bridge

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// pool starts the requests of one of Kling's concurrency pools: which is next, and when there is a slot for it.
type pool struct {
	name   kling.Pool
	slots  *slots
	pauses *pauses
	hands  *hands
	work   func(*job) verdict
	log    *slog.Logger
	wake   chan struct{} // of capacity 1: something changed that may let a job start

	mu      sync.Mutex
	ready   map[laneKey][]*job
	delayed []delayedJob
	count   map[laneKey]int // jobs of a lane in hand, wherever they are
	running int
	passed  map[events.Priority]int // creates of others since this priority had its turn
	turn    int                     // of the API generations, which alternate
	room    chan struct{}           // closed and replaced when count falls or slots free
	closed  bool
}

type delayedJob struct {
	job *job
	at  time.Time
}

// share is the promise to lower priorities: one of every so many creates.
const share = 10

// recheck is how often a pool looks at what no signal announces: deadlines of requests in hand, and probes.
const recheck = time.Second

func newPool(name kling.Pool, s *slots, p *pauses, h *hands, log *slog.Logger) *pool {
	return &pool{
		name: name, slots: s, pauses: p, hands: h, log: log,
		wake:   make(chan struct{}, 1),
		ready:  map[laneKey][]*job{},
		count:  map[laneKey]int{},
		passed: map[events.Priority]int{},
		room:   make(chan struct{}),
	}
}

func (p *pool) key(j *job) laneKey {
	return laneKey{pool: p.name, generation: j.req.kind.Generation, priority: j.req.priority}
}

// add takes a delivered request into hand.
func (p *pool) add(j *job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		release(j)
		return
	}
	p.hands.take(j)
	j.slots = p.slots
	key := p.key(j)
	p.count[key]++
	p.ready[key] = append(p.ready[key], j)
	p.notify()
}

// release gives a request back to the stream, for another replica.
func release(j *job) {
	j.span.End()
	_ = j.msg.Nak() // without it the request comes back after the ack wait
}

func (p *pool) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// freed tells that a slot may have become free.
func (p *pool) freed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signalRoom()
	p.notify()
}

// signalRoom wakes whoever waits in waitForRoom; the caller holds the mutex.
func (p *pool) signalRoom() {
	close(p.room)
	p.room = make(chan struct{})
}

// waitForRoom blocks until the lane may hold another request and returns how many.
func (p *pool) waitForRoom(ctx context.Context, key laneKey) (n int, ok bool) {
	for {
		p.mu.Lock()
		n, changed := p.slots.room()-p.count[key], p.room
		p.mu.Unlock()
		if n > 0 {
			return n, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-changed:
		}
	}
}

// dispatch starts jobs until stop closes, then waits for those under way and gives the others back.
func (p *pool) dispatch(stop <-chan struct{}) {
	var workers sync.WaitGroup
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	for {
		for j := p.next(time.Now()); j != nil; j = p.next(time.Now()) {
			workers.Go(func() { p.run(j) })
		}
		timer := p.nextDelay()
		select {
		case <-stop:
			timer.Stop()
			p.close(&workers)
			return
		case <-p.wake:
		case <-timer.C:
		case <-ticker.C:
		}
		timer.Stop()
	}
}

// close waits for the workers and gives back what is left in hand.
func (p *pool) close(workers *sync.WaitGroup) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	workers.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, jobs := range p.ready {
		for _, j := range jobs {
			p.hands.drop(j)
			release(j)
		}
	}
	for _, d := range p.delayed {
		p.hands.drop(d.job)
		release(d.job)
	}
	p.ready, p.delayed = nil, nil
}

// nextDelay fires when the next delayed job is due or a full pool may be tried.
func (p *pool) nextDelay() *time.Timer {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := recheck
	now := time.Now()
	for _, d := range p.delayed {
		wait = min(wait, d.at.Sub(now))
	}
	if probe := p.slots.nextProbe(); probe.After(now) {
		wait = min(wait, probe.Sub(now))
	}
	return time.NewTimer(max(wait, 0))
}

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
	for _, priority := range p.order() {
		if j := p.nextOf(priority, now); j != nil {
			return j
		}
	}
	return nil
}

// promote moves jobs whose delay is over to the front of their lanes.
func (p *pool) promote(now time.Time) {
	p.delayed = slices.DeleteFunc(p.delayed, func(d delayedJob) bool {
		if d.at.After(now) {
			return false
		}
		key := p.key(d.job)
		p.ready[key] = slices.Insert(p.ready[key], 0, d.job)
		return true
	})
}

// nextSlotless picks a job that will not become a task: it is invalid or its deadline has passed.
func (p *pool) nextSlotless(now time.Time) *job {
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

// nextOf picks the first job of a priority. The head of a lane that does not fit is not overtaken within its lane, or
// requests for many images would never start.
func (p *pool) nextOf(priority events.Priority, now time.Time) *job {
	generations := []kling.Generation{kling.V1, kling.V2}
	for i := range generations {
		g := generations[(p.turn+i)%len(generations)]
		key := laneKey{pool: p.name, generation: g, priority: priority}
		jobs := p.ready[key]
		if len(jobs) == 0 {
			continue
		}
		j := jobs[0]
		if !j.reserved {
			ok, owned := p.slots.reserve(j.req.token, j.req.slots, now)
			if !ok {
				continue
			}
			j.reserved = owned
		}
		if !p.pauses.allow(g, p.name, now) {
			p.giveBack(j)
			continue
		}
		p.ready[key] = jobs[1:]
		p.running++
		p.turn += i + 1 // the other generation is next
		j.passed = p.passed[priority]
		p.countTurn(priority)
		return j
	}
	return nil
}

// giveBack returns what a job has reserved.
func (p *pool) giveBack(j *job) {
	if j.reserved && j.rec == nil {
		p.slots.release(j.req.token)
		j.reserved = false
	}
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

// run works on one job and files it according to the verdict.
func (p *pool) run(j *job) {
	v := p.work(j)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	key := p.key(j)
	switch {
	case v.settled:
		p.settle(j, key)
	case v.full:
		p.slots.refused(j.req.token, now)
		j.reserved = false
		p.passed[j.req.priority] = j.passed // it has not had its turn
		p.ready[key] = slices.Insert(p.ready[key], 0, j)
	default:
		p.giveBack(j)
		p.delayed = append(p.delayed, delayedJob{job: j, at: now.Add(v.after)})
	}
	p.notify()
}

// settle lets go of a job. What its task holds stays held; what was reserved for nothing is given back.
func (p *pool) settle(j *job, key laneKey) {
	p.hands.drop(j)
	j.span.End()
	p.count[key]--
	if j.reserved && !j.accepted {
		p.slots.release(j.req.token)
	}
	p.signalRoom()
}
