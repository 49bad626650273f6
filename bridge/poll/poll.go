package poll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// Poller asks Kling for tasks whose timer has fired. Fired records are ordinary work of one durable consumer, so the
// replicas share them and one of them polls a task.
type Poller struct {
	Bus       *bus.Bus
	Accounts  kling.Accounts
	Store     *store.Store
	Cache     *store.Cache
	Holder    *pull.Holder
	Queue     *dueQueue
	Subjects  subjects.Subjects
	Kinds     kling.Kinds
	Telemetry *telemetry.Tracer
	Metrics   *Metrics
	Log       *slog.Logger

	MinInterval time.Duration
	MaxInterval time.Duration
	AckWait     time.Duration
}

const (
	// maxDue is how many fired records one replica takes at a time.
	maxDue = 2000
	// maxDuePending is how many may be unacked over all replicas.
	maxDuePending = 20_000
	// linger lets fired records gather, because one call can serve many.
	linger = 300 * time.Millisecond
	// pollWorkers bounds the calls under way for one batch and kind.
	pollWorkers = 8
	// settleWorkers bounds the answers of one batch and kind that are being acted on: writes to JetStream, which takes
	// many at a time.
	settleWorkers = 64
)

// Consumer makes or checks the durable consumer of fired records.
func (p *Poller) Consumer(ctx context.Context) (jetstream.Consumer, error) {
	return p.Bus.EnsureConsumer(ctx, p.Subjects.EventsStream(), jetstream.ConsumerConfig{
		Durable:       store.PollConsumer,
		Description:   "klingbridge: tasks whose poll is due",
		FilterSubject: p.Subjects.AllDue(),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       p.AckWait,
		MaxDeliver:    -1,
		MaxAckPending: maxDuePending,
	})
}

// Run polls until ctx ends; hard, which lives longer, bounds what is under way then. Each kind of each account is polled
// beside the others, so that one that Kling is slow to answer for delays no other.
func (p *Poller) Run(ctx, hard context.Context) {
	var sorts sync.WaitGroup
	defer sorts.Wait()
	for ctx.Err() == nil {
		due, err := p.gather(ctx)
		for of, tasks := range due {
			if p.Queue.add(of, tasks) {
				sorts.Go(func() { p.drain(ctx, hard, of) })
			}
		}
		pull.Recover(ctx, p.Log, store.PollConsumer, err, func() (jetstream.Consumer, error) { return p.Consumer(ctx) })
	}
}

// drain polls one sort until nothing of it is queued.
func (p *Poller) drain(ctx, hard context.Context, of sort) {
	for tasks := p.Queue.take(of); len(tasks) > 0; tasks = p.Queue.take(of) {
		p.pollSort(ctx, hard, of, tasks)
	}
}

// gather waits for one fired record and then a moment for others. What it has got it returns also with an error.
func (p *Poller) gather(ctx context.Context) (map[sort][]*dueTask, error) {
	due := map[sort][]*dueTask{}
	if err := p.fetch(ctx, 1, pull.Wait, due); err != nil || len(due) == 0 {
		return due, err
	}
	return due, p.fetch(ctx, maxDue, linger, due)
}

func (p *Poller) fetch(ctx context.Context, n int, wait time.Duration, due map[sort][]*dueTask) error {
	strange := ""
	err := p.Bus.Fetch(ctx, p.Subjects.EventsStream(), store.PollConsumer, n, wait, func(msg jetstream.Msg) {
		if parsed, _ := p.Subjects.Parse(msg.Subject()); parsed.Type != subjects.TypeDue {
			strange = msg.Subject()
			return
		}
		d, err := p.read(msg)
		switch {
		case err != nil:
			p.refuse(ctx, msg, err)
		case d.rec.Newer():
			p.leave(ctx, d)
		default:
			p.Holder.Take(d)
			due[d.sort()] = append(due[d.sort()], d)
		}
	})
	if strange != "" {
		p.Log.ErrorContext(ctx, "somebody has changed the consumer of polls: it is made anew", slog.String("subject", strange))
		return errors.Join(err, fmt.Errorf("%w: %s", errNotDue, strange))
	}
	return err
}

// errNotDue says that the consumer delivers what it is not for. Whatever that is, it is left alone: what is polled is deleted.
var errNotDue = errors.New("not the subject of a due record")

// leave gives a fired record back that only a newer version of the bridge knows how to go on with.
func (p *Poller) leave(ctx context.Context, d *dueTask) {
	wait := pull.Leave(d.msg)
	p.Log.WarnContext(ctx, "poll left to a newer version", slog.String("request_id", d.rec.RequestID),
		slog.String("kind", d.rec.Kind), slog.Int("version", d.rec.Version), slog.Duration("wait", wait))
}

func (p *Poller) read(msg jetstream.Msg) (*dueTask, error) {
	rec, err := store.Decode(msg.Data())
	if err != nil {
		return nil, err
	}
	kind, ok := p.Kinds.Lookup(rec.Kind)
	if !ok {
		return nil, fmt.Errorf("%w %q", store.ErrUnknownKind, rec.Kind)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	return &dueTask{msg: msg, rec: rec, kind: kind, seq: meta.Sequence.Stream}, nil
}

// refuse reports a message that is no due record. A foreign one is removed, or it would take one of the places of those
// that are; any other comes back: a bridge that knows its kind may be running beside this one.
func (p *Poller) refuse(ctx context.Context, msg jetstream.Msg, why error) {
	shelf := p.Store.Guarded()
	meta, err := msg.Metadata()
	if err == nil && shelf.Foreign(&bus.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()}) {
		if why = shelf.Remove(ctx, msg.Subject(), meta.Sequence.Stream); why == nil {
			_ = msg.Ack() // the message is gone
			return
		}
	}
	p.Log.ErrorContext(ctx, "not a due record", slog.String("subject", msg.Subject()), slog.Any("err", errors.Join(why, err)))
}
