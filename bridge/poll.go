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
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// poller asks Kling for tasks whose timer has fired. Fired records are ordinary work of one durable consumer, so the
// replicas share them and one of them polls a task.
type poller struct {
	bus       *bus.Bus
	client    *kling.Client
	ledger    *ledger
	cache     *recordCache
	subjects  events.Subjects
	kinds     kling.Kinds
	telemetry *telemetry
	log       *slog.Logger

	minInterval time.Duration
	maxInterval time.Duration
	ackWait     time.Duration
}

// dueTask is one fired record in the hands of this replica.
type dueTask struct {
	msg  jetstream.Msg
	rec  *record
	kind kling.Kind
	seq  uint64
}

const (
	// maxDue is how many fired records one replica takes at a time.
	maxDue = 2000
	// linger lets fired records gather, because one call can serve many.
	linger = 300 * time.Millisecond
	// pollWorkers bounds the calls under way for one batch and kind.
	pollWorkers = 8
	// pollTime bounds the work on one task beside its call.
	pollTime = 30 * time.Second
)

func (p *poller) consumer(ctx context.Context) (jetstream.Consumer, error) {
	return p.bus.EnsureConsumer(ctx, p.subjects.EventsStream(), jetstream.ConsumerConfig{
		Durable:       "polls",
		Description:   "klingbridge: tasks whose poll is due",
		FilterSubject: p.subjects.AllDue(),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       p.ackWait,
		MaxDeliver:    -1,
		MaxAckPending: 100_000,
	})
}

// run polls until ctx ends.
func (p *poller) run(ctx context.Context, c jetstream.Consumer) {
	for ctx.Err() == nil {
		due, err := p.gather(ctx, c)
		if err != nil && ctx.Err() == nil {
			p.log.DebugContext(ctx, "fetch due records", slog.Any("err", err))
			sleep(ctx, nil, fetchPause)
			continue
		}
		p.pollAll(ctx, due)
	}
}

// gather waits for one fired record and then a moment for others.
func (p *poller) gather(ctx context.Context, c jetstream.Consumer) (map[kling.Kind][]*dueTask, error) {
	due := map[kling.Kind][]*dueTask{}
	if err := p.fetch(ctx, c, 1, fetchWait, due); err != nil || len(due) == 0 {
		return due, err
	}
	return due, p.fetch(ctx, c, maxDue, linger, due)
}

func (p *poller) fetch(ctx context.Context, c jetstream.Consumer, n int, wait time.Duration, due map[kling.Kind][]*dueTask) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	batch, err := c.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	for msg := range batch.Messages() {
		d, err := p.read(msg)
		if err != nil {
			p.log.ErrorContext(ctx, "not a due record", slog.String("subject", msg.Subject()), slog.Any("err", err))
			continue // it comes back; a bridge that knows the kind may be running beside this one
		}
		due[d.kind] = append(due[d.kind], d)
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (p *poller) read(msg jetstream.Msg) (*dueTask, error) {
	rec, err := decodeRecord(msg.Data())
	if err != nil {
		return nil, err
	}
	kind, ok := p.kinds.Lookup(rec.Kind)
	if !ok {
		return nil, fmt.Errorf("%w %q", errUnknownKind, rec.Kind)
	}
	meta, err := msg.Metadata()
	if err != nil {
		return nil, err
	}
	return &dueTask{msg: msg, rec: rec, kind: kind, seq: meta.Sequence.Stream}, nil
}

// pollAll polls each kind beside the others and keeps the records from being taken for lost meanwhile.
func (p *poller) pollAll(ctx context.Context, due map[kling.Kind][]*dueTask) {
	done := make(chan struct{})
	var signal, kinds sync.WaitGroup
	signal.Go(func() { p.signal(done, due) })
	for kind, tasks := range due {
		kinds.Go(func() { p.pollKind(ctx, kind, tasks) })
	}
	kinds.Wait()
	close(done)
	signal.Wait()
}

func (p *poller) signal(done <-chan struct{}, due map[kling.Kind][]*dueTask) {
	ticker := time.NewTicker(p.ackWait / 4)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
			for _, tasks := range due {
				for _, d := range tasks {
					_ = d.msg.InProgress() // one that is already acked takes no notice
				}
			}
		}
	}
}

// settle acts on what Kling said of one due task, or on why it said nothing, and then deletes the fired record.
func (p *poller) settle(ctx context.Context, d *dueTask, task kling.Task, queryErr error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), pollTime)
	defer cancel()
	ctx, span := p.telemetry.startPoll(ctx, p.subjects, d.rec)
	err := p.step(ctx, d, task, queryErr)
	endSpan(span, err)
	if err != nil {
		p.log.WarnContext(ctx, "poll", slog.String("request_id", d.rec.RequestID), slog.Any("err", err))
		return // it comes back after the ack wait
	}
	if err := p.bus.Delete(ctx, p.subjects.EventsStream(), d.seq); err != nil {
		p.log.WarnContext(ctx, "poll", slog.String("request_id", d.rec.RequestID), slog.Any("err", err))
		return
	}
	_ = d.msg.Ack() // the message is gone; an ack that is lost brings nothing back
}

func (p *poller) step(ctx context.Context, d *dueTask, task kling.Task, queryErr error) error {
	if queryErr == nil {
		p.cache.remove(d.rec.token())
		ended, err := p.found(ctx, d, task)
		if ended || err != nil {
			return err
		}
	} else {
		p.note(ctx, d, queryErr)
	}
	failure, ok := errors.AsType[*kling.Error](queryErr)
	if d.rec.Unproven && ok && failure.NotFound {
		return nil // somebody made it up
	}
	return p.again(ctx, d)
}

// found publishes what Kling says, and completes a record that the create call never did.
func (p *poller) found(ctx context.Context, d *dueTask, task kling.Task) (ended bool, err error) {
	d.rec.Unproven = false
	if d.rec.TaskID == "" {
		d.rec.State, d.rec.TaskID = stateSubmitted, task.ID
		d.rec.SubmittedAt = task.CreatedAt
		if d.rec.SubmittedAt.IsZero() {
			d.rec.SubmittedAt = time.Now()
		}
	}
	return p.ledger.observe(ctx, d.rec, task, events.SourcePoll)
}

func (p *poller) note(ctx context.Context, d *dueTask, queryErr error) {
	level := slog.LevelDebug
	if failure, ok := errors.AsType[*kling.Error](queryErr); ok && failure.Action == kling.ActionPause {
		level = slog.LevelWarn
	}
	p.log.Log(ctx, level, "query", slog.String("request_id", d.rec.RequestID), slog.String("kind", d.rec.Kind),
		slog.String("task_id", d.rec.TaskID), slog.Any("err", queryErr))
}

// again sets the timer for the next poll, or ends the request when its deadline has passed. A record in creating still
// belongs to its request, which is looked after by the creator: its copy in the stream may be newer than the one here.
func (p *poller) again(ctx context.Context, d *dueTask) error {
	now := time.Now()
	if !now.Before(d.rec.Deadline) {
		_, err := p.ledger.complete(ctx, d.rec, expired())
		return err
	}
	if d.rec.State == stateCreating {
		newer, err := p.superseded(ctx, d)
		if newer || err != nil {
			return err
		}
		_, err = p.ledger.arm(ctx, d.rec, earlier(now.Add(creatingTimer), d.rec.Deadline))
		return err
	}
	d.rec.Polls++
	d.rec.NextPollAt = earlier(now.Add(p.interval(d.rec.Polls)), d.rec.Deadline)
	_, err := p.ledger.arm(ctx, d.rec, d.rec.NextPollAt)
	return err
}

// superseded reports whether a newer record of the same request is stored.
func (p *poller) superseded(ctx context.Context, d *dueTask) (bool, error) {
	e, err := p.ledger.load(ctx, d.rec.token())
	if errors.Is(err, bus.ErrNoMessage) {
		return true, nil
	}
	return err == nil && e.seq != d.seq, err
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
