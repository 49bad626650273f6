package poll

import (
	"context"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

const (
	// pollTime bounds the work on one task beside its call.
	pollTime = 30 * time.Second
)

// settle acts on what Kling said of one due task, or on why it said nothing, and then deletes the fired record.
func (p *Poller) settle(hard context.Context, d *dueTask, task kling.Task, queryErr error) {
	defer p.Holder.Drop(d)
	ctx, cancel := context.WithTimeout(hard, pollTime)
	defer cancel()
	ctx, span := p.span(ctx, d)
	err := p.step(ctx, d, task, queryErr)
	telemetry.EndSpan(span, err)
	if err == nil {
		err = p.Bus.Delete(ctx, p.Subjects.EventsStream(), d.seq)
	}
	if err != nil { // it comes back after the ack wait
		p.Log.WarnContext(ctx, "poll", slog.String("request_id", d.rec.RequestID), slog.String("kind", d.rec.Kind),
			slog.String("task_id", d.rec.TaskID), slog.Any("err", err))
		return
	}
	_ = d.msg.Ack() // the message is gone; an ack that is lost brings nothing back
}

// giveBack leaves a due task to another replica.
func (p *Poller) giveBack(d *dueTask) {
	p.Holder.Drop(d)
	_ = d.msg.Nak() // without it the task comes back after the ack wait
}

func (p *Poller) step(ctx context.Context, d *dueTask, task kling.Task, queryErr error) error {
	if d.rec.State == store.StateRetrying {
		return p.Store.NextTry(ctx, d.rec, d.seq)
	}
	if queryErr == nil {
		queryErr = store.Mismatch(d.rec, task)
	}
	if queryErr == nil {
		n, err := p.found(ctx, d, task)
		p.Metrics.asked(ctx, n, err)
		if n.Ended() && err == nil {
			p.Cache.Remove(d.rec.Token())
			return nil
		}
		if err != nil && (errors.Is(err, bus.ErrUnavailable) || p.Store.Now().Before(d.rec.Deadline)) {
			return err
		}
	} else {
		p.Metrics.asked(ctx, store.EffectNone, queryErr)
		p.note(ctx, d, queryErr)
	}
	return p.again(ctx, d)
}

// found publishes what Kling says, and completes a record that the create call never did.
func (p *Poller) found(ctx context.Context, d *dueTask, task kling.Task) (store.Effect, error) {
	d.rec.Found(task, p.Store.Now())
	return p.Store.Observe(ctx, d.rec, task, events.SourcePoll)
}

// note logs why nothing was learned. That Kling is slow or away for one query is no news; that it does not know a task,
// knows another, or refuses to answer is.
func (p *Poller) note(ctx context.Context, d *dueTask, queryErr error) {
	level := slog.LevelWarn
	if failure, ok := errors.AsType[*kling.Error](queryErr); ok && failure.Action == kling.ActionRetry {
		level = slog.LevelDebug
	}
	p.Log.Log(ctx, level, "query", slog.String("request_id", d.rec.RequestID), slog.String("kind", d.rec.Kind),
		slog.String("task_id", d.rec.TaskID), slog.Any("err", queryErr))
}

// again sets the timer for the next poll, or ends the request when its deadline has passed. A record in creating still
// belongs to its request, which is looked after by the creator: its copy in the stream may be newer than the one here.
func (p *Poller) again(ctx context.Context, d *dueTask) error {
	now := p.Store.Now()
	if !now.Before(d.rec.Deadline) {
		_, err := p.Store.Complete(ctx, d.rec, store.Expired())
		return err
	}
	if d.rec.State == store.StateCreating {
		_, err := p.Store.Rearm(ctx, d.rec, clock.Earlier(now.Add(store.CreatingTimer), d.rec.Deadline), d.seq)
		return err
	}
	d.rec.Polled(clock.Earlier(now.Add(p.interval(d.rec.Polls+1)), d.rec.Deadline))
	if d.rec.Retries > 0 { // the task may be made again at this moment
		_, err := p.Store.Rearm(ctx, d.rec, d.rec.NextPollAt, d.seq)
		return err
	}
	_, err := p.Store.Arm(ctx, d.rec, d.rec.NextPollAt)
	return err
}

// interval is the wait before the n-th further poll: doubling from the minimum to the maximum, give or take a tenth, so
// that tasks created together drift apart.
func (p *Poller) interval(n int) time.Duration {
	d := p.MaxInterval
	if shift := n - 1; shift < 30 && p.MinInterval<<shift > 0 {
		d = min(p.MinInterval<<shift, p.MaxInterval)
	}
	return d - d/10 + mathrand.N(d/5+1)
}
