package dispatch

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

// Pool starts the requests of one of Kling's concurrency pools: which is next, and when there is a slot for it.
type Pool struct {
	shares
	turns *Peers
	hands *pull.Holder
	Begin func(*Job) (work func() Result)
	log   *slog.Logger
	// ServerTime is what deadlines count by; nil: this machine's.
	ServerTime func() time.Time
	wake       chan struct{} // of capacity 1: something changed that may let a job start

	mu      sync.Mutex
	ready   map[Lane][]*Job
	delayed []delayedJob
	count   map[Lane]int // jobs of a lane in hand, wherever they are
	running int
	passed  map[events.Priority]int // creates of others since this priority had its turn
	turn    int                     // of the API generations, which alternate
	room    chan struct{}           // closed when count falls or slots free; nil: nobody waits for it
	blocked map[want]*Job           // that come first, by what they wait for
	freed   []time.Time             // slots that requests wait for, oldest first
	closed  bool
}

type delayedJob struct {
	job *Job
	at  time.Time
	why string // it is tried again, for people; empty: for a reason of the bridge's own
}

// share is the promise to lower priorities: one of every so many creates.
const share = 10

// recheck is how often a pool looks at what no signal announces: deadlines of requests in hand, and probes.
const recheck = time.Second

// NewPool begins with nothing in hand. all is what the accounts have of it, in order of preference.
func NewPool(name kling.Pool, all []*Share, t *Peers, h *pull.Holder, log *slog.Logger) *Pool {
	return &Pool{
		shares: shares{pool: name, all: all}, turns: t, hands: h, log: log,
		wake:   make(chan struct{}, 1),
		ready:  map[Lane][]*Job{},
		count:  map[Lane]int{},
		passed: map[events.Priority]int{},
	}
}

func (p *Pool) key(j *Job) Lane {
	return Lane{Pool: p.pool, Generation: j.Req.Kind.Generation, priority: j.Req.Priority}
}

// add takes a delivered request into hand.
func (p *Pool) add(j *Job) {
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
	j.pool, j.work = p, p.Begin(j)
	key := p.key(j)
	p.count[key]++
	p.ready[key] = append(p.ready[key], j)
	p.notify()
}

// release gives a request back to the stream, for another replica.
func release(j *Job) {
	j.span.End()
	_ = j.Msg.Nak() // without it the request comes back after the ack wait
}

func (p *Pool) notify() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Freed tells that a slot may have become free.
func (p *Pool) Freed() { p.notify() }

// moreRoom has all who wait in waitForRoom look again: whatever has woken the pool may have made some.
func (p *Pool) moreRoom() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.room != nil {
		close(p.room)
		p.room = nil
	}
}

// waitForRoom blocks until the lane may hold another request and returns how many.
func (p *Pool) waitForRoom(ctx context.Context, key Lane) (n int, ok bool) {
	for {
		p.mu.Lock()
		if p.room == nil {
			p.room = make(chan struct{})
		}
		n, changed := p.shares.room()+p.aside(key)-p.count[key], p.room
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

// Dispatch starts jobs until stop closes, then waits for those under way and gives the others back.
func (p *Pool) Dispatch(stop <-chan struct{}) {
	workers := newWorkers(p.run)
	ticker := time.NewTicker(recheck)
	defer ticker.Stop()
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	for {
		for j := p.next(time.Now()); j != nil; j = p.next(time.Now()) {
			workers.start(j)
		}
		p.bid(time.Now())
		p.moreRoom()
		timer.Reset(p.nextDelay())
		select {
		case <-stop:
			p.close(workers)
			return
		case <-p.wake:
		case <-timer.C:
		case <-ticker.C:
			workers.rest()
		}
	}
}

// bid tells other replicas which requests wait for slots here, and which no longer do.
func (p *Pool) bid(now time.Time) {
	p.mu.Lock()
	first := p.stillBlocked()
	p.mu.Unlock()
	p.turns.retract(func(w want) bool { return first[w] != nil })
	for w, j := range first {
		p.turns.wait(w, j.Req, j.waits, now)
	}
}

// close waits for the workers and gives back what is left in hand.
func (p *Pool) close(workers *workers) {
	p.turns.retract(func(want) bool { return false })
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	workers.wait()
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

// nextDelay is how long it takes until the next delayed job is due or time makes room.
func (p *Pool) nextDelay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	wait := recheck
	now := time.Now()
	for _, d := range p.delayed {
		wait = min(wait, d.at.Sub(now))
	}
	for _, share := range p.all {
		if change := share.Slots.nextChange(now); !change.IsZero() {
			wait = min(wait, change.Sub(now))
		}
	}
	return max(wait, 0)
}

// giveBack returns what a job has reserved.
func (p *Pool) giveBack(j *Job) {
	if j.reserved && !j.holds {
		p.letGo(j)
		j.reserved = false
	}
}

// letGo gives up what a job has reserved for nothing.
func (p *Pool) letGo(j *Job) {
	if j.share != nil {
		j.share.Slots.release(j.Req.Token, time.Time{})
	}
	p.untake(j, false)
}

// maxOutbid is how often a request leaves a slot to another replica that says it was first. Then Kling decides.
const maxOutbid = 3

// take tells other replicas what a job has reserved. It reports whether the reservation stands: of those that are more
// than the configured bound or the learned limit, made at the same time, the last is given up.
func (p *Pool) take(j *Job) bool {
	if !j.reserved || j.told {
		return true
	}
	j.told = true
	account, token, of := j.share.Account, j.Req.Token, j.Req.Need()
	if !p.bounded(account) && !p.turns.contested(time.Now()) {
		j.share.Slots.told(p.turns.take(account, token, of))
		return true
	}
	switch p.turns.takeInOrder(account, token, of, p) {
	case beyondBound:
		return false
	case beyondLimit:
		j.outbids++
		return j.outbids > maxOutbid
	default:
		return true
	}
}

// untake tells other replicas that a job has let go of what it reserved.
func (p *Pool) untake(j *Job, refused bool) {
	if j.told {
		p.turns.give(j.share.Account, j.Req.Token, j.Req.Need().Model, refused)
	}
	j.told = false
}

// run works on one job and files it according to the result.
func (p *Pool) run(j *Job) {
	r := outbid()
	if p.take(j) {
		r = j.work()
		j.holds, j.bound = r.holds, ""
		if r.holds {
			j.bound = j.Account()
		}
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if j.probing || r.outcome == resultPaused { // also one that came to nothing before it was sent: the next is another's
		j.probes++
	}
	j.cleared, j.probing = false, false
	key := p.key(j)
	switch r.outcome {
	case resultSettled, resultLeft:
		p.settle(j, key)
	case resultFull:
		p.refused(j, now)
		p.untake(j, true)
		p.goBack(j, key)
	case resultOutbid:
		p.letGo(j)
		p.goBack(j, key)
	case resultPaused:
		p.giveBack(j)
		p.pass(j, key)
	case resultAgain:
		p.giveBack(j)
		p.delayed = append(p.delayed, delayedJob{job: j, at: now.Add(r.after), why: r.why})
	}
	p.notify()
}

// pass puts a job that its account refused for what a person has to mend behind the others of its lane, unless another account
// may take it.
func (p *Pool) pass(j *Job, key Lane) {
	if slices.ContainsFunc(p.candidates(j), func(s *Share) bool { return s.open(j.Req.Kind) }) {
		p.ready[key] = slices.Insert(p.ready[key], 0, j)
		return
	}
	p.ready[key] = append(p.ready[key], j)
}

// goBack puts a job that has not had its turn in front of its lane again.
func (p *Pool) goBack(j *Job, key Lane) {
	j.reserved = false
	p.passed[j.Req.Priority] = j.passed
	p.ready[key] = slices.Insert(p.ready[key], 0, j)
}

// settle lets go of a job that was acked or given back. What its task holds stays held; what was reserved for nothing is given back.
func (p *Pool) settle(j *Job, key Lane) {
	p.hands.Drop(j)
	j.span.End()
	p.count[key]--
	if j.reserved && !j.taken {
		p.letGo(j)
	}
}

// refused gives a job's slots back after Kling said that there is no capacity, and says what was learned from it.
func (p *Pool) refused(j *Job, now time.Time) {
	of, s := j.Req.Need(), j.share.Slots
	pool, model := s.limits(of.Model)
	s.refused(j.Req.Token, of, now)
	poolNow, modelNow := s.limits(of.Model)
	if pool != poolNow || model != modelNow {
		p.log.Info("capacity learned", slog.String("account", j.share.Account), slog.String("pool", string(p.pool)),
			slog.Int("limit", poolNow), slog.String("model", of.Model), slog.Int("model_limit", modelNow))
	}
}
