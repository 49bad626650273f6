package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// lookUp finds out what became of a create call whose outcome is unknown, and sends it again, with the same external
// id, only after Kling has denied to the end of the window that the task exists.
func (c *creator) lookUp(ctx context.Context, stop <-chan struct{}, j *job) (verdict, error) {
	return c.lookUpOr(ctx, stop, j, func() (verdict, error) { return c.resend(ctx, stop, j) })
}

// lookUpOr asks for the task by its external id with growing waits, adopts it when it is found, and does what absent
// says when it is not. Only an answer counts: while the query itself fails nothing is known.
func (c *creator) lookUpOr(
	ctx context.Context, stop <-chan struct{}, j *job, absent func() (verdict, error),
) (verdict, error) {
	until := j.rec.ClaimedAt.Add(c.lookupWindow)
	wait := firstLookupWait
	for {
		task, err := c.client.QueryExternal(ctx, j.req.kind, j.rec.ExternalTaskID)
		if err == nil {
			c.log.InfoContext(ctx, "adopted", append(j.attrs(), slog.String("task_id", task.ID))...)
			return c.submitted(ctx, j, task)
		}
		failure, ok := errors.AsType[*kling.Error](err)
		now := time.Now()
		switch {
		case ok && failure.NotFound && !now.Before(until):
			return absent()
		case !now.Before(j.rec.Deadline):
			return c.expire(ctx, j)
		case !ok || !failure.NotFound:
			c.log.WarnContext(ctx, "lookup put off", append(j.attrs(), slog.Any("err", err))...)
		}
		pause := wait
		if left := until.Sub(now); left > 0 {
			pause = min(pause, left)
		}
		if !sleep(ctx, stop, pause) {
			return tryAgain(0), nil
		}
		wait = min(2*wait, maxLookupWait)
	}
}

// sleep waits for d and reports whether nothing ended it early.
func sleep(ctx context.Context, stop <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return false
	case <-ctx.Done():
		return false
	}
}

// resend makes the create call again after claiming the record anew.
func (c *creator) resend(ctx context.Context, stop <-chan struct{}, j *job) (verdict, error) {
	body, inputErr, err := c.inputs.resolve(ctx, j.req)
	if err != nil || inputErr != nil {
		return verdict{}, errors.Join(err, inputError(inputErr))
	}
	rec := *j.rec
	rec.Attempt++
	rec.Claim, rec.ClaimedAt = rand.Text(), time.Now()
	seq, held, err := c.ledger.claim(ctx, &rec, c.creatingFire(&rec), j.recSeq)
	if err != nil {
		return verdict{}, err
	}
	if !held {
		return c.resume(ctx, stop, j, rec.Claim)
	}
	c.log.WarnContext(ctx, "sending again: Kling knows no such task", append(j.attrs(), slog.Int("attempt", rec.Attempt))...)
	j.rec, j.recSeq = &rec, seq
	return c.send(ctx, stop, j, body)
}
