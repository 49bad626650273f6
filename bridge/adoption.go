package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
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
func (c *creator) exists(ctx context.Context, j *job, failure *kling.Error) (verdict, error) {
	j.refusal = eventError(failure)
	if j.rec.Attempt == 1 {
		j.refusal.Message += "; yet Kling finds no task by it"
	}
	return c.unknown(ctx, j)
}

// askFirst looks a redelivered request up before its first send: whoever had it before may have sent it, and what was
// known of that may be lost.
func (c *creator) askFirst(ctx context.Context, j *job, body object) (verdict, error) {
	task, err := c.client.FindExternal(ctx, j.req.kind, j.rec.ExternalTaskID)
	if err == nil {
		return c.found(ctx, j, task)
	}
	j.asks++
	failure, ok := errors.AsType[*kling.Error](err)
	j.asked = ok && failure.NotFound || j.asks >= maxAsks // Kling refuses an external id that it has seen, too
	if j.asked {
		return c.send(ctx, j, body)
	}
	c.log.WarnContext(ctx, "lookup put off", append(j.attrs(), slog.Any("err", err))...)
	seq := j.recSeq
	j.rec, j.recSeq = nil, 0
	if err := c.ledger.withdraw(ctx, seq); err != nil {
		return verdict{}, err
	}
	return tryAgain(backoff(j.asks)), nil
}

// found adopts the task that Kling has under the external id of a request. One that was there before the request is
// somebody else's, or of an earlier request with the same id.
func (c *creator) found(ctx context.Context, j *job, task kling.Task) (verdict, error) {
	if !task.CreatedAt.IsZero() && task.CreatedAt.Before(j.req.requestedAt.Add(-adoptGrace)) {
		return c.reject(ctx, j, olderTask(j, task))
	}
	c.queries.seen(j.req.kind)
	c.log.InfoContext(ctx, "adopted", append(j.attrs(), slog.String("task_id", task.ID))...)
	return c.submitted(ctx, j, task)
}

func olderTask(j *job, task kling.Task) *events.Error {
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

// heldBy rejects a request that brought another one's external id along.
func heldBy(externalID, holder string) *events.Error {
	return &events.Error{
		Class:   events.ErrorInvalid,
		Message: fmt.Sprintf("external_task_id: %s is that of request %s", externalID, clip(holder)),
	}
}
