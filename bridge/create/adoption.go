package create

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

const (
	// adoptGrace is how much older than its request a task may seem: Kling's clock and that of the NATS server differ.
	adoptGrace = 5 * time.Minute
	// maxAsks is how often Kling is asked for a task that is most likely none, if it does not answer.
	maxAsks = 3
)

// exists goes on with a request whose external id Kling has seen, though nothing is known here of an earlier send: what was
// known is lost. The task is looked up and adopted; one that can't be found rejects the request.
func (c *Creator) exists(ctx context.Context, j *attempt, failure *kling.Error) (dispatch.Result, error) {
	j.refusal = eventError(failure)
	if j.rec.Attempt == 1 {
		j.refusal.Message += "; yet Kling finds no task by it"
	}
	return c.unknown(ctx, j)
}

// SuspectBefore has every request that was stored before a time looked up before its first send: its task may exist though
// nothing is known of it here. So it is after the start and after each reconnection, as a store may have been set back or
// emptied meanwhile, and where streams have disappeared.
//
// A time that is still to come has repeats looked up, too, of what was lost. An earlier time than the last one changes nothing.
func (c *Creator) SuspectBefore(at time.Time) {
	for {
		before := c.suspectedAt.Load()
		if before >= at.UnixNano() || c.suspectedAt.CompareAndSwap(before, at.UnixNano()) {
			return
		}
	}
}

// suspects reports whether the task of a request may exist of which nothing is stored: because state may be lost, or because
// this replica remembers the task itself.
func (c *Creator) suspects(r *request.Request) bool {
	if n := c.Store.Bus.Reconnections(); n != c.reconnections.Swap(n) {
		c.SuspectBefore(c.Store.Now())
	}
	return r.RequestedAt.UnixNano() < c.suspectedAt.Load() || c.Cache.Has(r.Token)
}

// doubtful reports whether a request is to be looked up before its first send: it was delivered before, or was stored before a
// time up to which state may be lost. Whoever had it then may have sent it.
func (c *Creator) doubtful(j *attempt) bool {
	if j.failed != nil { // its record shows that nothing was sent, unless the store was set back to it
		return !j.asked && j.failedAt().UnixNano() < c.suspectedAt.Load()
	}
	return !j.asked && (j.Delivered > 1 || c.suspects(j.Req))
}

// askFirst looks a doubtful request up.
func (c *Creator) askFirst(ctx context.Context, j *attempt, body request.Object) (dispatch.Result, error) {
	client, err := c.client(j)
	if err != nil {
		return c.gone(ctx, j, err), nil
	}
	task, err := client.FindExternal(ctx, j.Req.Kind, j.rec.ExternalTaskID)
	if err == nil {
		return c.found(ctx, j, task)
	}
	j.asks++
	j.asked = kling.IsNotFound(err) || j.asks >= maxAsks // Kling refuses an external id that it has seen, too
	if j.asked {
		return c.send(ctx, j, body)
	}
	c.Log.WarnContext(ctx, "lookup put off", append(j.Attrs(), slog.Any("err", err))...)
	again, failed := c.unsay(ctx, j, clock.Backoff(j.asks))
	if failure, ok := errors.AsType[*kling.Error](err); ok {
		again = again.Because(trouble(failure, j.asks))
	}
	return again, failed
}

// unsay takes an intent back that nothing was sent under, and tries again after that time.
func (c *Creator) unsay(ctx context.Context, j *attempt, after time.Duration) (dispatch.Result, error) {
	if err := c.withdraw(ctx, j); err != nil {
		return dispatch.Result{}, err
	}
	return dispatch.TryAgain(after), nil
}

// found adopts the task that Kling has under the external id of a request. One that was there before the request is
// somebody else's, or of an earlier request with the same id.
func (c *Creator) found(ctx context.Context, j *attempt, task kling.Task) (dispatch.Result, error) {
	if older(j, task) {
		return c.reject(ctx, j, olderTask(j, task))
	}
	c.Queries.seen(j.rec.Account, j.Req.Kind)
	c.pauses(j).Made(j.Req.Kind, j.sentAt)
	c.Log.InfoContext(ctx, "adopted", append(j.Attrs(), slog.String("task_id", task.ID))...)
	return c.submitted(ctx, j, task)
}

// older reports whether a task was there before the request.
func older(j *attempt, task kling.Task) bool {
	return !task.CreatedAt.IsZero() && task.CreatedAt.Before(j.Req.RequestedAt.Add(-adoptGrace))
}

func olderTask(j *attempt, task kling.Task) *events.Error {
	why := &events.Error{
		Class: events.ErrorInvalid,
		Message: fmt.Sprintf("Kling has an older task under the external id %s: task %s of %s", j.rec.ExternalTaskID, task.ID,
			task.CreatedAt.UTC().Format(time.RFC3339)),
	}
	if j.refusal != nil {
		why.Code, why.HTTPStatus = j.refusal.Code, j.refusal.HTTPStatus
	}
	return why
}

// derivedID rejects a request that brought an external id along which is derived for another one.
func derivedID(externalID string) *events.Error {
	return &events.Error{
		Class:   events.ErrorInvalid,
		Message: fmt.Sprintf("external_task_id: %s has the form of the ids that the bridge derives for other requests", externalID),
	}
}

// heldBy rejects a request that brought another one's external id along.
func heldBy(externalID, holder string) *events.Error {
	return &events.Error{
		Class:   events.ErrorInvalid,
		Message: fmt.Sprintf("external_task_id: %s is that of request %s", externalID, request.Clip(holder)),
	}
}
