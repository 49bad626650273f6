package create

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
)

// unknown begins to look for a task that a send may have made.
func (c *Creator) unknown(ctx context.Context, j *attempt) (dispatch.Result, error) {
	j.unknownAt, j.lookups = c.Store.Now(), 0
	return c.lookUp(ctx, j)
}

// lookUp asks Kling once whether it knows the task of a create call whose outcome is unknown. It is adopted when it is
// found. Only after Kling has denied it to the end of the window, counted from the last send that may have reached it,
// is the call made again, with the same external id. Only an answer counts: while the query fails nothing is known.
//
// Between lookups the job waits in its pool, with its slot, so that it holds up no other.
func (c *Creator) lookUp(ctx context.Context, j *attempt) (dispatch.Result, error) {
	client, err := c.client(j)
	if err != nil {
		return c.gone(ctx, j, err), nil
	}
	j.Suspect()
	until := c.lookupEnd(j)
	task, err := client.FindExternal(ctx, j.Req.Kind, j.rec.ExternalTaskID)
	if err == nil {
		return c.found(ctx, j, task)
	}
	failure, ok := errors.AsType[*kling.Error](err)
	denied := ok && failure.NotFound
	now := c.Store.Now()
	switch {
	case denied && !now.Before(until):
		return c.absent(ctx, j)
	case !denied:
		c.Log.WarnContext(ctx, "lookup put off", append(j.Attrs(), slog.Any("err", err))...)
	}
	again := dispatch.TryAgain(j.nextLookup(until.Sub(now)))
	if ok && !denied {
		again = again.Because(trouble(failure, j.lookups))
	}
	return again, nil
}

// lookupEnd is when a job's request may be sent again, if Kling still knows no task of it.
func (c *Creator) lookupEnd(j *attempt) time.Time {
	until := j.lastSend().Add(c.LookupWindow)
	if j.unknownAt.IsZero() { // another replica may be sending still
		until = until.Add(j.rec.Upload)
	}
	return until
}

// nextLookup is the wait until the next of several lookups, which ends with the window at the latest.
func (j *attempt) nextLookup(left time.Duration) time.Duration {
	longest := maxLookupWait
	if j.lostSends {
		longest = lastLookupWait
	}
	wait := min(firstLookupWait<<min(j.lookups, 16), longest)
	j.lookups++
	if left > 0 {
		wait = min(wait, left)
	}
	return wait
}

// absent goes on with a request that Kling has no task of.
func (c *Creator) absent(ctx context.Context, j *attempt) (dispatch.Result, error) {
	if j.refusal != nil {
		return c.reject(ctx, j, j.refusal)
	}
	why, err := c.lost(ctx, j)
	if err != nil {
		return dispatch.Result{}, err
	}
	if why != "" {
		if !j.lostSends {
			j.lostSends = true
			c.pauses(j).Lost(j.Req.Kind, why, time.Now())
		}
		return dispatch.TryAgain(j.nextLookup(0)), nil
	}
	return c.resend(ctx, j)
}

// resend makes the create call again after claiming the record anew.
func (c *Creator) resend(ctx context.Context, j *attempt) (dispatch.Result, error) {
	if c.freed(j) {
		return c.unsay(ctx, j, 0)
	}
	if !j.MaySend(time.Now()) {
		return dispatch.TryAgain(c.waitPaused(j, time.Now())), nil
	}
	body, inputErr, err := c.Inputs.Resolve(ctx, j.Req)
	if err != nil || inputErr != nil {
		return dispatch.Result{}, errors.Join(err, request.InputError(inputErr))
	}
	j.claimedAt = time.Now()
	rec := j.rec.Resent(c.newSend(body), j.certain(), j.lastSend())
	seq, held, err := c.Store.Claim(ctx, rec, c.creatingFire(rec), j.recSeq)
	if err != nil {
		return dispatch.Result{}, err
	}
	if !held {
		return c.resume(ctx, j, rec.Claim)
	}
	c.Log.WarnContext(ctx, "sending again: Kling knows no such task", append(j.Attrs(), slog.Int("attempt", rec.Attempt))...)
	j.rec, j.recSeq = rec, seq
	return c.send(ctx, j, body)
}
