package dispatch

import (
	"cmp"
	"context"
	"log/slog"
	"strconv"
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
// a completion, or for the next try with a retrying event. Plain subscriptions are at most once, so what is in flight is recounted from the stream at the start,
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
}

// recountInterval bounds how long a lost event holds a slot.
const recountInterval = 30 * time.Second

// newsBacklog is how many messages may wait to be followed; beyond it they are lost until the next recount.
const newsBacklog = 16 << 10

// Subscribe collects events and the news of other replicas until the returned function is called. All of it goes through
// one channel: what one replica said first is to be heard first.
func (f *InFlight) Subscribe() (stop func(), err error) {
	f.news = make(chan *nats.Msg, newsBacklog)
	var subs []*nats.Subscription
	stop = func() {
		for _, sub := range subs {
			_ = sub.Unsubscribe() // the connection is closed next
		}
	}
	for _, subject := range []string{
		f.Subjects.Progress("*", events.StatusSubmitted, "*"), f.Subjects.Progress("*", events.StatusRetrying, "*"),
		f.Subjects.AllCompletions(), f.Subjects.SlotNews("*"),
	} {
		sub, err := f.Bus.Conn().ChanSubscribe(subject, f.news)
		if err != nil {
			stop()
			return nil, err
		}
		subs = append(subs, sub)
	}
	return stop, nil
}

// Listen follows what was subscribed to until ctx ends.
func (f *InFlight) Listen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case msg := <-f.news:
			f.follow(msg, time.Now())
		}
	}
}

// follow takes one message in. What the stream has stored carries the stream's name. Whoever may publish on the bridge's
// subjects and forges even that can keep requests of a pool with a configured bound waiting for as long as it does; with
// what replicas tell each other, only for minutes at a time, see credit.
func (f *InFlight) follow(msg *nats.Msg, now time.Time) {
	parsed, ok := f.Subjects.Parse(msg.Subject)
	if !ok {
		return
	}
	if parsed.Type == subjects.TypeSlots {
		if p := f.Pools[kling.Pool(parsed.Pool)]; p != nil {
			p.turns.hear(msg, p, now)
			p.Freed()
		}
		return
	}
	kind, ok := f.Kinds.Lookup(parsed.Kind)
	if !ok || msg.Header.Get("Nats-Stream") != f.Subjects.EventsStream() {
		return
	}
	if parsed.Type == events.TypeCompletion {
		f.Cache.Remove(parsed.Token)
	}
	p := f.Pools[kind.Pool]
	if parsed.Type == events.TypeCompletion || parsed.Status == events.StatusRetrying {
		p.ended(parsed.Token, now)
		return
	}
	p.hold(cmp.Or(msg.Header.Get(events.HeaderAccount), kling.DefaultAccount), parsed.Token, needOf(kind, msg.Header), now)
}

// ended frees what a request has taken. A recount that is under way is to know that it has ended, wherever it was.
func (p *Pool) ended(token string, now time.Time) {
	for _, share := range p.met() {
		of, _ := share.Slots.need(token)
		share.Slots.release(token, p.turns.until(token, want{share.Account, of.Model}, now))
	}
	p.Freed()
}

// needOf reads what a submitted event says that its task takes.
func needOf(kind kling.Kind, h nats.Header) request.Need {
	of := request.Need{N: 1, Model: request.ModelKey(kind, h.Get(events.HeaderModel))}
	if n, err := strconv.Atoi(h.Get(events.HeaderSlots)); err == nil && n > 1 {
		of.N = min(n, request.MaxImages)
	}
	return of
}

// Run recounts until ctx ends.
func (f *InFlight) Run(ctx context.Context) {
	reconnected := f.Bus.Conn().StatusChanged(nats.CONNECTED)
	defer f.Bus.Conn().RemoveStatusListener(reconnected)
	ticker := time.NewTicker(recountInterval)
	defer ticker.Stop()
	for {
		if err := f.Recount(ctx); err != nil && ctx.Err() == nil {
			f.Log.WarnContext(ctx, "recount of tasks in flight", slog.Any("err", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-reconnected:
		case <-ticker.C:
		}
	}
}
