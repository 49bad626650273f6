package create

import (
	"context"
	"errors"
	"log/slog"

	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// endedBy tells a redelivered request from another one with the same id, whose end it was not.
func endedBy(end *events.Event, r *request.Request) bool {
	return end.Kind == r.Kind.Name && end.RequestedAt.Equal(events.At(r.RequestedAt).Time)
}

func (c *Creator) repeat(ctx context.Context, j *attempt) (dispatch.Result, error) {
	c.Log.InfoContext(ctx, "request id is already known", j.Attrs()...)
	return c.ack(ctx, j)
}

// reject ends a request that can't become a task: completion first, then the dead letter, then the ack.
func (c *Creator) reject(ctx context.Context, j *attempt, why *events.Error) (dispatch.Result, error) {
	if rec := j.triedRecord(); rec != nil {
		return c.giveUp(ctx, j, rec, why)
	}
	first, err := c.end(ctx, j, store.Rejected(why))
	if err != nil {
		return dispatch.Result{}, err
	}
	if !first {
		return c.resumeKnown(ctx, j)
	}
	if err := c.Store.Dead.Bury(ctx, j.Req, j.Msg.Headers(), j.Msg.Data(), why); err != nil {
		return dispatch.Result{}, err
	}
	return c.ack(ctx, j)
}

// expire ends a request whose deadline has passed.
func (c *Creator) expire(ctx context.Context, j *attempt) (dispatch.Result, error) {
	first, err := c.end(ctx, j, store.Expired())
	if err != nil {
		return dispatch.Result{}, err
	}
	if !first {
		return c.resumeKnown(ctx, j)
	}
	if j.rec == nil && j.failed == nil {
		return c.keepUnsentAndAck(ctx, j, events.StatusExpired)
	}
	return c.keepAndAck(ctx, j)
}

// end completes a job's request. One that nothing is stored of must be wholly unknown: another message with the same id
// may have become a task.
func (c *Creator) end(ctx context.Context, j *attempt, e store.End) (first bool, err error) {
	rec := j.rec
	if rec == nil && j.failed != nil {
		rec = j.failed.Rec
	}
	if rec == nil {
		rec = store.NewRecord(j.Req, "", "", c.newSend(request.Object{}), c.Telemetry.Carry(ctx))
		e.Untouched = true
	}
	return c.Store.Complete(ctx, rec, e)
}

// leave gives a request back that only a newer version of the bridge knows how to go on with.
func (c *Creator) leave(ctx context.Context, j *attempt, rec *store.Record) dispatch.Result {
	wait := pull.Leave(j.Msg)
	c.Log.WarnContext(ctx, "request left to a newer version",
		append(j.Attrs(), slog.Int("version", rec.Version), slog.Duration("wait", wait))...)
	return dispatch.Left()
}

// keepAndAck keeps the request as it came, which nothing else has once it is acked.
func (c *Creator) keepAndAck(ctx context.Context, j *attempt) (dispatch.Result, error) {
	if err := c.Store.Keep(ctx, j.Req, j.Msg.Headers(), j.Msg.Data()); err != nil {
		return dispatch.Result{}, err
	}
	return c.ack(ctx, j)
}

// keepUnsentAndAck is keepAndAck for a request that ended before anything was sent.
func (c *Creator) keepUnsentAndAck(ctx context.Context, j *attempt, end events.Status) (dispatch.Result, error) {
	if err := c.Store.KeepUnsent(ctx, j.Req, end, j.Msg.Headers(), j.Msg.Data()); err != nil {
		return dispatch.Result{}, err
	}
	return c.ack(ctx, j)
}

// tellAndAck tells what became of a request and keeps it as it came, beside each other, and acks it once both are stored.
// Whatever of that a crash or an error leaves out is made up for when the request comes again.
func (c *Creator) tellAndAck(ctx context.Context, j *attempt, tell func(context.Context) error) (dispatch.Result, error) {
	kept := c.Store.StartKeep(ctx, j.Req, j.Msg.Headers(), j.Msg.Data())
	told := tell(ctx)
	if err := errors.Join(told, kept(ctx)); err != nil {
		return dispatch.Result{}, err
	}
	return c.ack(ctx, j)
}

// ack takes the request off the stream. Should the ack get lost, the message comes again and is met as one that is known.
func (c *Creator) ack(ctx context.Context, j *attempt) (dispatch.Result, error) {
	if err := c.Store.Bus.Ack(ctx, j.Msg); err != nil {
		return dispatch.Result{}, err
	}
	return dispatch.Settled(), nil
}

// eventError is Kling's refusal as events show it.
func eventError(e *kling.Error) *events.Error {
	return &events.Error{
		Class: events.ErrorClass(e.Class), Code: e.Code, HTTPStatus: e.HTTPStatus, Message: e.Message,
		Retryable: e.Retryable(),
	}
}
