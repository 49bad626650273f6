package bridge

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/events"
)

// pool starts the requests of one of Kling's concurrency pools: which is next, and when there is a slot for it.
type pool struct {
	name   kling.Pool
	slots  *slots
	turns  *turns
	pauses *pauses
	hands  *pull.Holder
	begin  func(*job) (work func() result)
	log    *slog.Logger
	// serverTime is what deadlines count by; nil: this machine's.
	serverTime func() time.Time
	wake       chan struct{} // of capacity 1: something changed that may let a job start

	mu      sync.Mutex
	ready   map[laneKey][]*job
	delayed []delayedJob
	count   map[laneKey]int // jobs of a lane in hand, wherever they are
	running int
	passed  map[events.Priority]int // creates of others since this priority had its turn
	turn    int                     // of the API generations, which alternate
	room    chan struct{}           // closed and replaced when count falls or slots free
	blocked map[string]*job         // that come first and wait for slots of a model, or of the pool: empty
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

// newPool begins with nothing in hand.
func newPool(name kling.Pool, s *slots, t *turns, p *pauses, h *pull.Holder, log *slog.Logger) *pool {
	return &pool{
		name: name, slots: s, turns: t, pauses: p, hands: h, log: log,
		wake:   make(chan struct{}, 1),
		ready:  map[laneKey][]*job{},
		count:  map[laneKey]int{},
		passed: map[events.Priority]int{},
		room:   make(chan struct{}),
	}
}

func (p *pool) key(j *job) laneKey {
	return laneKey{pool: p.name, generation: j.req.Kind.Generation, priority: j.req.Priority}
}

// add takes a delivered request into hand.
func (p *pool) add(j *job) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		release(j)
		return
	}
	if p.park(j) {
		return
	}
	p.hands.Take(j)
	j.slots, j.work = p.slots, p.begin(j)
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
		n, changed := p.slots.room()+p.aside(key)-p.count[key], p.room
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

// maxOversized is how many requests of a lane that need more slots than there are may be held beside others.
const maxOversized = 16

// dispatch starts jobs until stop closes, then waits for those under way and gives the others back.
func (p *pool) dispatch(stop <-chan struct{}) {
	var workers sync.WaitGroup
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	for {
		for j := p.next(time.Now()); j != nil; j = p.next(time.Now()) {
			workers.Go(func() { p.run(j) })
		}
		p.bid(time.Now())
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

// bid tells other replicas which requests wait for slots here.
func (p *pool) bid(now time.Time) {
	p.mu.Lock()
	first := p.stillBlocked()
	p.mu.Unlock()
	for model, j := range first {
		p.turns.wait(model, j.req, j.waits, now)
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
			p.hands.Drop(j)
			release(j)
		}
	}
	for _, d := range p.delayed {
		p.hands.Drop(d.job)
		release(d.job)
	}
	p.ready, p.delayed = nil, nil
}

// nextDelay fires when the next delayed job is due or time makes room.
func (p *pool) nextDelay() *time.Timer {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := recheck
	now := time.Now()
	for _, d := range p.delayed {
		wait = min(wait, d.at.Sub(now))
	}
	if change := p.slots.nextChange(now); !change.IsZero() {
		wait = min(wait, change.Sub(now))
	}
	return time.NewTimer(max(wait, 0))
}

// giveBack returns what a job has reserved.
func (p *pool) giveBack(j *job) {
	if j.reserved && !j.holds {
		p.slots.release(j.req.Token, time.Time{})
		p.untake(j, false)
		j.reserved = false
	}
}

// take tells other replicas what a job has reserved. It reports whether the reservation stands: of those that are more
// than the configured bound, made at the same time, the last is given up.
func (p *pool) take(j *job) bool {
	if !j.reserved || j.told {
		return true
	}
	j.told = true
	if p.slots.bounded() {
		return p.turns.takeBounded(j.req.Token, j.req.Need())
	}
	p.turns.take(j.req.Token, j.req.Need())
	return true
}

// untake tells other replicas that a job has let go of what it reserved.
func (p *pool) untake(j *job, refused bool) {
	if j.told {
		p.turns.give(j.req.Token, j.req.Need().Model, refused)
	}
	j.told = false
}

// run works on one job and files it according to the result.
func (p *pool) run(j *job) {
	r := outbid()
	if p.take(j) {
		r = j.work()
		j.holds = r.holds
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	j.cleared = false
	key := p.key(j)
	switch r.outcome {
	case resultSettled, resultLeft:
		p.settle(j, key)
	case resultFull:
		p.refused(j, now)
		p.untake(j, true)
		p.goBack(j, key)
	case resultOutbid:
		p.slots.release(j.req.Token, time.Time{})
		p.untake(j, false)
		p.goBack(j, key)
	case resultPaused:
		p.giveBack(j)
		j.probes++
		p.ready[key] = append(p.ready[key], j)
		p.signalRoom()
	case resultAgain:
		p.giveBack(j)
		p.delayed = append(p.delayed, delayedJob{job: j, at: now.Add(r.after)})
	}
	p.notify()
}

// goBack puts a job that has not had its turn in front of its lane again.
func (p *pool) goBack(j *job, key laneKey) {
	j.reserved = false
	p.passed[j.req.Priority] = j.passed
	p.ready[key] = slices.Insert(p.ready[key], 0, j)
}

// settle lets go of a job that was acked or given back. What its task holds stays held; what was reserved for nothing is given back.
func (p *pool) settle(j *job, key laneKey) {
	p.hands.Drop(j)
	j.span.End()
	p.count[key]--
	if j.reserved && !j.taken {
		p.slots.release(j.req.Token, time.Time{})
		p.untake(j, false)
	}
	p.signalRoom()
}

// refused gives a job's slots back after Kling said that there is no capacity, and says what was learned from it.
func (p *pool) refused(j *job, now time.Time) {
	of := j.req.Need()
	pool, model := p.slots.limits(of.Model)
	p.slots.refused(j.req.Token, of, now)
	poolNow, modelNow := p.slots.limits(of.Model)
	if pool != poolNow || model != modelNow {
		p.log.Info("capacity learned", slog.String("pool", string(p.name)), slog.Int("limit", poolNow),
			slog.String("model", of.Model), slog.Int("model_limit", modelNow))
	}
}
