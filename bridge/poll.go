package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// poller asks Kling for tasks whose timer has fired. Fired records are ordinary work of one durable consumer, so the
// replicas share them and one of them polls a task.
type poller struct {
	bus       *bus.Bus
	client    *kling.Client
	ledger    *store.Store
	cache     *store.Cache
	hands     *pull.Holder
	queue     *dueQueue
	subjects  events.Subjects
	kinds     kling.Kinds
	telemetry *telemetry.Tracer
	metrics   *pollMetrics
	log       *slog.Logger

	minInterval time.Duration
	maxInterval time.Duration
	ackWait     time.Duration
}

// InProgress implements inHand.
func (d *dueTask) InProgress() error { return d.msg.InProgress() }

// dueTask is one fired record in the hands of this replica.
type dueTask struct {
	msg  jetstream.Msg
	rec  *store.Record
	kind kling.Kind
	seq  uint64
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
	// pollTime bounds the work on one task beside its call.
	pollTime = 30 * time.Second
)

// consumer makes or checks the durable consumer of fired records.
func (p *poller) consumer(ctx context.Context) (jetstream.Consumer, error) {
	return p.bus.EnsureConsumer(ctx, p.subjects.EventsStream(), jetstream.ConsumerConfig{
		Durable:       store.PollConsumer,
		Description:   "klingbridge: tasks whose poll is due",
		FilterSubject: p.subjects.AllDue(),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       p.ackWait,
		MaxDeliver:    -1,
		MaxAckPending: maxDuePending,
	})
}

// run polls until ctx ends; hard, which lives longer, bounds what is under way then. Each kind is polled beside the
// others, so that one that Kling is slow to answer for delays no other.
func (p *poller) run(ctx, hard context.Context) {
	var kinds sync.WaitGroup
	defer kinds.Wait()
	for ctx.Err() == nil {
		due, err := p.gather(ctx)
		for kind, tasks := range due {
			if p.queue.add(kind, tasks) {
				kinds.Go(func() { p.drain(ctx, hard, kind) })
			}
		}
		if err != nil && ctx.Err() == nil {
			p.log.DebugContext(ctx, "fetch due records", slog.Any("err", err))
			clock.Sleep(ctx, pull.RetryPause)
			pull.Renew(ctx, p.log, func() (jetstream.Consumer, error) { return p.consumer(ctx) })
		}
	}
}

// drain polls one kind until nothing of it is queued.
func (p *poller) drain(ctx, hard context.Context, kind kling.Kind) {
	for tasks := p.queue.take(kind); len(tasks) > 0; tasks = p.queue.take(kind) {
		p.pollKind(ctx, hard, kind, tasks)
	}
}

// dueQueue holds fired records until their kind is polled.
//
// Safe for concurrent use.
type dueQueue struct {
	mu     sync.Mutex
	queued map[kling.Kind][]*dueTask
	busy   map[kling.Kind]bool // somebody drains it
}

// newDueQueue is empty.
func newDueQueue() *dueQueue {
	return &dueQueue{queued: map[kling.Kind][]*dueTask{}, busy: map[kling.Kind]bool{}}
}

// add queues tasks and reports whether the caller has to see to it that they are drained.
func (q *dueQueue) add(kind kling.Kind, tasks []*dueTask) (idle bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.queued[kind] = append(q.queued[kind], tasks...)
	idle = !q.busy[kind]
	q.busy[kind] = true
	return idle
}

// take returns all that is queued of a kind. When that is nothing, its drain has ended.
func (q *dueQueue) take(kind kling.Kind) []*dueTask {
	q.mu.Lock()
	defer q.mu.Unlock()
	tasks := q.queued[kind]
	delete(q.queued, kind)
	q.busy[kind] = len(tasks) > 0
	return tasks
}

// gather waits for one fired record and then a moment for others. What it has got it returns also with an error.
func (p *poller) gather(ctx context.Context) (map[kling.Kind][]*dueTask, error) {
	due := map[kling.Kind][]*dueTask{}
	if err := p.fetch(ctx, 1, pull.Wait, due); err != nil || len(due) == 0 {
		return due, err
	}
	return due, p.fetch(ctx, maxDue, linger, due)
}

func (p *poller) fetch(ctx context.Context, n int, wait time.Duration, due map[kling.Kind][]*dueTask) error {
	return p.bus.Fetch(ctx, p.subjects.EventsStream(), store.PollConsumer, n, wait, func(msg jetstream.Msg) {
		d, err := p.read(msg)
		switch {
		case err != nil:
			p.refuse(ctx, msg, err)
		case d.rec.Newer():
			p.leave(ctx, d)
		default:
			p.hands.Take(d)
			due[d.kind] = append(due[d.kind], d)
		}
	})
}

// leave gives a fired record back that only a newer version of the bridge knows how to go on with.
func (p *poller) leave(ctx context.Context, d *dueTask) {
	wait := pull.Leave(d.msg)
	p.log.WarnContext(ctx, "poll left to a newer version", slog.String("request_id", d.rec.RequestID),
		slog.String("kind", d.rec.Kind), slog.Int("version", d.rec.Version), slog.Duration("wait", wait))
}

func (p *poller) read(msg jetstream.Msg) (*dueTask, error) {
	rec, err := store.Decode(msg.Data())
	if err != nil {
		return nil, err
	}
	kind, ok := p.kinds.Lookup(rec.Kind)
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
func (p *poller) refuse(ctx context.Context, msg jetstream.Msg, why error) {
	shelf := p.ledger.Guarded()
	meta, err := msg.Metadata()
	if err == nil && shelf.Foreign(&bus.Message{Subject: msg.Subject(), Header: msg.Headers(), Data: msg.Data()}) {
		if why = shelf.Remove(ctx, msg.Subject(), meta.Sequence.Stream); why == nil {
			_ = msg.Ack() // the message is gone
			return
		}
	}
	p.log.ErrorContext(ctx, "not a due record", slog.String("subject", msg.Subject()), slog.Any("err", errors.Join(why, err)))
}

// settle acts on what Kling said of one due task, or on why it said nothing, and then deletes the fired record.
func (p *poller) settle(hard context.Context, d *dueTask, task kling.Task, queryErr error) {
	defer p.hands.Drop(d)
	ctx, cancel := context.WithTimeout(hard, pollTime)
	defer cancel()
	ctx, span := p.span(ctx, d.rec)
	err := p.step(ctx, d, task, queryErr)
	telemetry.EndSpan(span, err)
	if err == nil {
		err = p.bus.Delete(ctx, p.subjects.EventsStream(), d.seq)
	}
	if err != nil { // it comes back after the ack wait
		p.log.WarnContext(ctx, "poll", slog.String("request_id", d.rec.RequestID), slog.String("kind", d.rec.Kind),
			slog.String("task_id", d.rec.TaskID), slog.Any("err", err))
		return
	}
	_ = d.msg.Ack() // the message is gone; an ack that is lost brings nothing back
}

// giveBack leaves a due task to another replica.
func (p *poller) giveBack(d *dueTask) {
	p.hands.Drop(d)
	_ = d.msg.Nak() // without it the task comes back after the ack wait
}

func (p *poller) step(ctx context.Context, d *dueTask, task kling.Task, queryErr error) error {
	if queryErr == nil {
		queryErr = store.Mismatch(d.rec, task)
	}
	if queryErr == nil {
		p.cache.Remove(d.rec.Token())
		n, err := p.found(ctx, d, task)
		p.metrics.asked(ctx, n, err)
		if n.Ended() && err == nil {
			return nil
		}
		if err != nil && (errors.Is(err, bus.ErrUnavailable) || p.ledger.Now().Before(d.rec.Deadline)) {
			return err
		}
	} else {
		p.metrics.asked(ctx, store.EffectNone, queryErr)
		p.note(ctx, d, queryErr)
	}
	return p.again(ctx, d)
}

// found publishes what Kling says, and completes a record that the create call never did.
func (p *poller) found(ctx context.Context, d *dueTask, task kling.Task) (store.Effect, error) {
	if d.rec.TaskID == "" {
		d.rec.State, d.rec.TaskID = store.StateSubmitted, task.ID
		d.rec.SubmittedAt = task.CreatedAt
		if d.rec.SubmittedAt.IsZero() {
			d.rec.SubmittedAt = p.ledger.Now()
		}
	}
	return p.ledger.Observe(ctx, d.rec, task, events.SourcePoll)
}

// note logs why nothing was learned. That Kling is slow or away for one query is no news; that it does not know a task,
// knows another, or refuses to answer is.
func (p *poller) note(ctx context.Context, d *dueTask, queryErr error) {
	level := slog.LevelWarn
	if failure, ok := errors.AsType[*kling.Error](queryErr); ok && failure.Action == kling.ActionRetry {
		level = slog.LevelDebug
	}
	p.log.Log(ctx, level, "query", slog.String("request_id", d.rec.RequestID), slog.String("kind", d.rec.Kind),
		slog.String("task_id", d.rec.TaskID), slog.Any("err", queryErr))
}

// again sets the timer for the next poll, or ends the request when its deadline has passed. A record in creating still
// belongs to its request, which is looked after by the creator: its copy in the stream may be newer than the one here.
func (p *poller) again(ctx context.Context, d *dueTask) error {
	now := p.ledger.Now()
	if !now.Before(d.rec.Deadline) {
		_, err := p.ledger.Complete(ctx, d.rec, store.Expired())
		return err
	}
	if d.rec.State == store.StateCreating {
		_, err := p.ledger.Rearm(ctx, d.rec, clock.Earlier(now.Add(store.CreatingTimer), d.rec.Deadline), d.seq)
		return err
	}
	d.rec.Polls++
	d.rec.NextPollAt = clock.Earlier(now.Add(p.interval(d.rec.Polls)), d.rec.Deadline)
	_, err := p.ledger.Arm(ctx, d.rec, d.rec.NextPollAt)
	return err
}

// interval is the wait before the n-th further poll: doubling from the minimum to the maximum, give or take a tenth, so
// that tasks created together drift apart.
func (p *poller) interval(n int) time.Duration {
	d := p.maxInterval
	if shift := n - 1; shift < 30 && p.minInterval<<shift > 0 {
		d = min(p.minInterval<<shift, p.maxInterval)
	}
	return d - d/10 + mathrand.N(d/5+1)
}
