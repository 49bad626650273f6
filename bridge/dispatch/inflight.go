package dispatch

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// InFlight keeps every pool's slots in step with what all replicas do: tasks begin with a submitted event and end with
// a completion, or for the next try with a retrying event. What this replica has stored of those it knows, and what others have
// they tell. News are at most once, so what is in flight is recounted from the stream at the start,
// after a reconnect, and now and then.
type InFlight struct {
	Bus      *bus.Bus
	Store    *store.Store
	Subjects subjects.Subjects
	Kinds    kling.Kinds
	Pools    map[kling.Pool]*Pool
	Cache    *store.Cache // forgets tasks that have ended, also those that other replicas were told of
	Log      *slog.Logger
	news     chan *nats.Msg
	untold   chan struct{} // of capacity 1: there is something to tell

	reconnected <-chan nats.Status // since Subscribe
}

const (
	// recountInterval bounds how long lost news hold a slot.
	recountInterval = 30 * time.Second
	// firstRecount is how long after the start the first recount comes. In a cluster it takes the servers a moment to pass news on to
	// who is new: what was told in between, and missed, is made up for by then.
	firstRecount = 5 * time.Second
)

// newsBacklog is how many messages may wait to be followed; beyond it they are lost until the next recount.
const newsBacklog = 16 << 10

// NewInFlight follows what becomes of the tasks of pools.
func NewInFlight(conn *bus.Bus, st *store.Store, pools map[kling.Pool]*Pool, cache *store.Cache, log *slog.Logger) *InFlight {
	return &InFlight{
		Bus: conn, Store: st, Subjects: st.Subjects, Kinds: st.Kinds, Pools: pools, Cache: cache, Log: log,
		news: make(chan *nats.Msg, newsBacklog), untold: make(chan struct{}, 1),
	}
}

// Subscribe collects the news of other replicas until the returned function is called. All of it goes through
// one channel: what one replica said first is to be heard first.
func (f *InFlight) Subscribe() (stop func(), err error) {
	sub, err := f.Bus.Conn().ChanSubscribe(f.Subjects.SlotNews("*"), f.news)
	if err != nil {
		return nil, err
	}
	reconnected := f.Bus.Conn().StatusChanged(nats.CONNECTED)
	f.reconnected = reconnected
	return func() {
		f.Bus.Conn().RemoveStatusListener(reconnected)
		_ = sub.Unsubscribe() // the connection is closed next
	}, nil
}

// Listen follows what was subscribed to, and tells other replicas what this one has stored, until ctx ends.
func (f *InFlight) Listen(ctx context.Context) {
	defer f.tell()
	var due <-chan time.Time
	var last time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-f.news:
			f.follow(msg, time.Now())
		case <-f.untold:
			if due == nil {
				due = time.After(max(f.delay()-time.Since(last), 0))
			}
		case <-due:
			f.tell()
			due, last = nil, time.Now()
		}
	}
}

// delay is how long news are collected.
func (f *InFlight) delay() time.Duration {
	for _, p := range f.Pools {
		if p.turns.contested(time.Now()) {
			return hastyDelay
		}
	}
	return newsDelay
}

// tell tells other replicas all that is left to tell.
func (f *InFlight) tell() {
	for _, p := range f.Pools {
		p.turns.tellTasks()
	}
}

// follow takes one message in. Whoever may publish it and is no replica can keep requests of a pool with a configured bound
// waiting, but only for minutes at a time, see trust; and it can have more of them sent than the bound allows, until the next
// recount.
func (f *InFlight) follow(msg *nats.Msg, now time.Time) {
	parsed, ok := f.Subjects.Parse(msg.Subject)
	p := f.Pools[kling.Pool(parsed.Pool)]
	if !ok || parsed.Type != subjects.TypeSlots || p == nil || p.turns.knows(msg.Data) {
		return
	}
	for _, token := range p.turns.hear(msg, p, now) {
		f.Cache.Remove(token)
	}
	p.Freed()
}

// Stored follows an event that this replica has stored, and has the others told of it.
func (f *InFlight) Stored(rec *store.Record, status events.Status) {
	kind, ok := f.Kinds.Lookup(rec.Kind)
	if !ok {
		return
	}
	p, token, now := f.Pools[kind.Pool], rec.Token(), time.Now()
	switch {
	case status == events.StatusSubmitted:
		account, of := cmp.Or(rec.Account, kling.DefaultAccount), needOf(kind, rec)
		p.hold(account, token, of, now)
		p.turns.noteBegun(account, token, of)
	case status == events.StatusRetrying, status.Terminal():
		f.Cache.Remove(token)
		p.free(token, turnStep, now)
		p.turns.noteEnded(token)
	default:
		return
	}
	select {
	case f.untold <- struct{}{}:
	default:
	}
}

// ended frees what a request has taken. A recount that is under way is to know that it has ended, wherever it was.
func (p *Pool) ended(token string, now time.Time) { p.free(token, 0, now) }

// free is ended where other replicas hear of it so much later: slots are left to them for as much longer.
func (p *Pool) free(token string, later time.Duration, now time.Time) {
	p.gone.add(token, now)
	for _, share := range p.met() {
		of, known := share.Slots.need(token)
		until := p.turns.until(token, want{share.Account, of.Model}, now)
		if !until.IsZero() {
			until = until.Add(later)
		} else if known {
			p.noteFreed(now)
		}
		share.Slots.release(token, until)
	}
	p.Freed()
}

// needOf is what the task of a record takes.
func needOf(kind kling.Kind, rec *store.Record) request.Need {
	return request.Need{N: min(max(rec.Slots, 1), request.MaxImages), Model: request.ModelKey(kind, rec.Model)}
}

// Run recounts until ctx ends. The first count, before any slot is taken, was its caller's.
func (f *InFlight) Run(ctx context.Context) {
	next := time.NewTimer(firstRecount)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.reconnected:
		case <-next.C:
		}
		next.Reset(recountInterval)
		if err := f.Recount(ctx); err != nil && ctx.Err() == nil {
			f.Log.WarnContext(ctx, "recount of tasks in flight", slog.Any("err", err))
		}
	}
}
