package create

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// send makes the create call. The claim in the record precedes it.
func (c *Creator) send(ctx context.Context, j *attempt, body request.Object) (dispatch.Result, error) {
	task, err := c.post(ctx, j, body)
	if err == nil {
		c.pauses(j).Succeeded(j.Req.Kind, j.sentAt)
		return c.submitted(ctx, j, task)
	}
	failure, ok := errors.AsType[*kling.Error](err)
	if !ok {
		return dispatch.Result{}, err
	}
	trace.SpanFromContext(ctx).RecordError(failure)
	if failure.Code != 0 {
		c.pauses(j).Answered(j.Req.Kind, j.sentAt)
		j.foreign = 0
	}
	switch failure.Action {
	case kling.ActionReject:
		authenticated(c.pauses(j), j, failure)
		if failure.Exists {
			return c.exists(ctx, j, failure)
		}
		if failure.Code != codeBadValue {
			return c.reject(ctx, j, eventError(failure))
		}
		return c.refuse(ctx, j, eventError(failure))
	case kling.ActionLookup:
		c.Log.WarnContext(ctx, "outcome of the create call is unknown", append(j.Attrs(), slog.Any("err", failure))...)
		if failure.Foreign {
			j.refusal = c.foreign(j, failure)
		}
		if failure.Foreign || failure.Code == codeMaintenance {
			j.answeredClaim = j.rec.Claim
		}
		return c.unknown(ctx, j)
	default:
		return c.putOff(ctx, j, failure)
	}
}

// post calls Kling, on the account that the record names.
func (c *Creator) post(ctx context.Context, j *attempt, body request.Object) (kling.Task, error) {
	client, err := c.client(j)
	if err != nil {
		return kling.Task{}, err
	}
	callback := c.CallbackURL(j.rec.Kind, j.Req.Token)
	trace.SpanFromContext(ctx).SetAttributes(telemetry.KeyAccount.String(j.rec.Account))
	if j.sentAt.IsZero() {
		waited := max(c.Store.Now().Sub(j.Req.RequestedAt), 0)
		trace.SpanFromContext(ctx).SetAttributes(telemetry.KeyQueueTime.Float64(waited.Seconds()))
	}
	j.sentAt = time.Now()
	c.handedOver(ctx, j)
	return client.Fenced(c.fence(j)).Create(ctx, j.Req.Kind, j.Req.Model, j.Req.CreateBody(body, j.rec.ExternalTaskID, callback)...)
}

// refuse rejects a request, unless an earlier send may have made the task after all: Kling refuses an external id that it
// has seen.
func (c *Creator) refuse(ctx context.Context, j *attempt, why *events.Error) (dispatch.Result, error) {
	if j.rec.Attempt == 1 {
		return c.reject(ctx, j, why)
	}
	j.refusal = why
	return c.unknown(ctx, j)
}

const (
	// codeBadValue is Kling's code for a bad value, which a reused external task id is.
	codeBadValue = 1201
	// codeMaintenance is Kling's code while it is under maintenance (its error code page, 2026-10).
	codeMaintenance = 5001
)

// submitted stores the task id, tells the world and keeps the request as it came, beside each other, and acks it once all of that
// is stored. On the wire the task id comes first.
func (c *Creator) submitted(ctx context.Context, j *attempt, task kling.Task) (dispatch.Result, error) {
	j.Accepted()
	now := c.Store.Now()
	rec := j.rec.Submitted(task.ID, now, clock.Earlier(now.Add(c.FirstPoll), j.rec.Deadline))
	if rec.Retries > 0 {
		return c.submittedTry(ctx, j, rec, task)
	}
	ctx, cancel := context.WithTimeout(ctx, store.PublishTimeout) // one for all writes: each would make its own
	defer cancel()
	armed := c.Store.StartArm(ctx, rec, rec.NextPollAt)
	announced := c.Store.StartAnnounce(ctx, rec, &task)
	return c.tellAndAck(ctx, j, func(ctx context.Context) error {
		stored, err := armed(ctx) // first: while that is not sure, the announcement is not tried again
		if err != nil {
			return err
		}
		c.created(ctx, j.Req, rec)
		if stored { // else a callback has been faster, and the announcement is refused as well
			c.Cache.Put(rec)
			if err := announced(ctx); err != nil {
				return err
			}
		}
		return c.endAdopted(ctx, rec, task)
	})
}

// submittedTry is submitted for a request whose tasks may be made again: its record takes the place of no other try's, and
// nothing is told before that is sure. What is kept in the cache does not show that another replica goes on with the next try.
func (c *Creator) submittedTry(ctx context.Context, j *attempt, rec *store.Record, task kling.Task) (dispatch.Result, error) {
	stored, err := c.Store.Rearm(ctx, rec, rec.NextPollAt, j.recSeq)
	if err != nil {
		return dispatch.Result{}, err
	}
	c.created(ctx, j.Req, rec)
	if !stored { // its task may have failed already
		return c.resume(ctx, j, "")
	}
	return c.tellAndAck(ctx, j, func(ctx context.Context) error {
		if err := c.Store.Announce(ctx, rec, &task); err != nil {
			return err
		}
		return c.endAdopted(ctx, rec, task)
	})
}

// endAdopted tells the end of a task that was adopted, which may have been long ago.
func (c *Creator) endAdopted(ctx context.Context, rec *store.Record, task kling.Task) error {
	if !task.Status.Terminal() {
		return nil
	}
	_, err := c.Store.Observe(ctx, rec, task, events.SourcePoll)
	return err
}
