//go:build !race

package dispatch

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/events"
)

// fleet is replicas that share the accounts of a Kling which counts tasks by account.
type fleet struct {
	replicas        []*fleetReplica
	call, lag, news time.Duration // a call, the news of a task's end, and those of other replicas take that long at most

	mu       sync.Mutex // everything below, and the accounts
	changed  *sync.Cond
	rng      *rand.Rand
	accounts []*fleetAccount
	queue    []*Job // requests that no replica has
	tasks    map[string]int
	ended    int
}

const (
	fleetTask  = 400 * time.Millisecond // takes a task
	fleetProbe = 5 * time.Second
	fleetIdle  = 50 * time.Millisecond // between two looks at a stream without requests
)

// fleetAccount is what Kling knows of an account.
type fleetAccount struct {
	name    string
	slots   int
	credit  int // tasks that it can pay for
	revoked bool

	busy, made   int
	full, closed int // refusals for want of room, and for what a person has to mend
	open         bool
	since        time.Time     // of the last change
	busyTime     time.Duration // of slots while it was open, summed up
	openTime     time.Duration // from its first task on, until it closes
	use          float64       // of its slots, from its first task to the last of any account
}

func newFleet(call, lag, news time.Duration) *fleet {
	f := &fleet{call: call, lag: lag, news: news, rng: rand.New(rand.NewPCG(1, 2)), tasks: map[string]int{}}
	f.changed = sync.NewCond(&f.mu)
	return f
}

func (f *fleet) account(name string, slots int) *fleetAccount {
	a := &fleetAccount{name: name, slots: slots, credit: 1 << 20}
	f.accounts = append(f.accounts, a)
	return a
}

// change does something to what Kling or the stream has.
func (f *fleet) change(what func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	what()
	f.changed.Broadcast()
}

func (f *fleet) await(holds func() bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for !holds() {
		f.changed.Wait()
	}
}

// start has replicas work off requests.
func (f *fleet) start(t *testing.T, replicas, requests int) {
	for i := range requests {
		f.queue = append(f.queue, f.request(t, i))
	}
	for i := range replicas {
		f.replicas = append(f.replicas, f.replica(string(rune('a'+i))))
	}
	for _, r := range f.replicas {
		r.work(f)
	}
}

func (f *fleet) stop() {
	for _, r := range f.replicas {
		r.end()
	}
	time.Sleep(time.Minute) // until all is told
}

// random is a time of at most so long.
func (f *fleet) random(most time.Duration) (d time.Duration) {
	f.change(func() { d = most/4 + time.Duration(f.rng.Int64N(int64(most)*3/4)) })
	return d
}

// tell has every replica hear something, each in the order of what was told.
func (f *fleet) tell(what func(r *fleetReplica, now time.Time)) {
	for _, r := range f.replicas {
		wait := f.random(f.news)
		f.change(func() {
			if at := time.Now().Add(wait); at.After(r.hears) {
				r.hears = at
			}
			time.AfterFunc(time.Until(r.hears), func() { what(r, time.Now()) })
		})
	}
}

// fleetReplica is one replica, and when it has heard all that was told.
type fleetReplica struct {
	*Pool
	hears   time.Time
	ctx     context.Context
	end     func() // returns once nothing of it runs
	running sync.WaitGroup
}

func (f *fleet) replica(name string) *fleetReplica {
	log := slog.New(slog.DiscardHandler)
	r := &fleetReplica{}
	var all []*Share
	for _, a := range f.accounts {
		all = append(all, &Share{Account: a.name, Slots: NewSlots(0), Pauses: NewPauses(fleetProbe, log)})
	}
	peers := NewPeers(nil, "", name)
	peers.publish = func(_ string, data []byte) error {
		f.tell(func(other *fleetReplica, now time.Time) {
			if !other.turns.knows(data) {
				other.turns.hear(&nats.Msg{Data: data}, other.Pool, now)
				other.Freed()
			}
		})
		return nil
	}
	r.Pool = NewPool(kling.PoolVideo, all, peers, pull.NewHolder(), log)
	r.Begin = doing(f.create)
	for _, share := range all {
		share.Pauses.Listen(r.Freed)
	}
	return r
}

// work runs a replica.
func (r *fleetReplica) work(f *fleet) {
	stop := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	r.ctx = ctx
	r.end = sync.OnceFunc(func() {
		cancel()
		close(stop)
		r.running.Wait()
	})
	r.running.Go(func() { r.Dispatch(stop) })
	r.running.Go(func() {
		lane := Lane{Pool: kling.PoolVideo, Generation: kling.V1, priority: events.PriorityNormal}
		for {
			n, ok := r.waitForRoom(ctx, lane)
			if !ok {
				return
			}
			if !r.fetch(f, n) {
				return
			}
		}
	})
}

// fetch takes so many requests from the stream, if there are.
func (r *fleetReplica) fetch(f *fleet, n int) (more bool) {
	var got []*Job
	f.change(func() {
		n = min(n, len(f.queue))
		got, f.queue = f.queue[:n], f.queue[n:]
	})
	for _, j := range got {
		r.add(j)
	}
	if n > 0 {
		return true
	}
	select {
	case <-r.ctx.Done():
		return false
	case <-time.After(fleetIdle):
		return true
	}
}

// create is the work of the pools.
func (f *fleet) create(j *Job) Result {
	time.Sleep(f.random(f.call) / 2)
	sent := time.Now()
	time.Sleep(f.random(f.call) / 2)
	refusal := f.ask(j)
	time.Sleep(f.random(f.call) / 2)
	switch {
	case refusal == nil:
		j.share.Pauses.Succeeded(j.Req.Kind, sent)
		j.Accepted()
		account := j.Account()
		f.tell(func(r *fleetReplica, now time.Time) {
			r.hold(account, j.Req.Token, j.Req.Need(), now)
			r.Freed()
		})
		return Settled()
	case refusal.Action == kling.ActionWait:
		j.share.Pauses.Succeeded(j.Req.Kind, sent)
		return NoCapacity()
	default:
		j.share.Pauses.Failed(j.Req.Kind, refusal, sent, time.Now())
		return Paused()
	}
}

// ask is Kling's answer to a create call.
func (f *fleet) ask(j *Job) (refusal *kling.Error) {
	f.change(func() {
		for _, a := range f.accounts {
			if a.name != j.Account() {
				continue
			}
			if refusal = a.refuse(); refusal == nil {
				f.tasks[j.Req.Token]++
				f.measure()
				time.AfterFunc(fleetTask, func() { f.finish(a, j.Req.Token) })
			}
		}
	})
	return refusal
}

// refuse says why there is no further task; nil: there is.
func (a *fleetAccount) refuse() *kling.Error {
	switch {
	case a.revoked:
		a.closed++
		a.count(0, false)
		return &kling.Error{Code: 1002, Action: kling.ActionPause, AccountWide: true}
	case a.credit == 0:
		a.closed++
		a.count(0, false)
		return &kling.Error{Code: 1102, Action: kling.ActionPause}
	case a.busy >= a.slots:
		a.full++
		return &kling.Error{Code: 1303, Action: kling.ActionWait}
	}
	a.credit--
	a.made++
	a.count(1, true)
	return nil
}

// count adds slots to those that are busy.
func (a *fleetAccount) count(n int, open bool) {
	now := time.Now()
	if a.open {
		a.openTime += now.Sub(a.since)
		a.busyTime += time.Duration(a.busy) * now.Sub(a.since)
	}
	a.busy, a.since, a.open = a.busy+n, now, open
}

// measure sums up how busy slots were until now.
func (f *fleet) measure() {
	for _, a := range f.accounts {
		a.count(0, a.open)
		a.use = a.busyTime.Seconds() / (float64(a.slots) * a.openTime.Seconds())
	}
}

// finish ends a task. Those that wait hear of it a little later.
func (f *fleet) finish(a *fleetAccount, token string) {
	f.change(func() { a.count(-1, a.open) })
	time.Sleep(f.random(f.lag))
	f.tell(func(r *fleetReplica, now time.Time) { r.ended(token, now) })
	f.change(func() { f.ended++ })
}
