package create

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
)

// putOff lets a request wait whose create call was refused for now. Kling made no task of it, unless the refusal is somebody else's.
func (c *Creator) putOff(ctx context.Context, j *attempt, failure *kling.Error) (dispatch.Result, error) {
	if failure.Foreign && failure.Action == kling.ActionPause {
		if why := c.foreign(j, failure); why != nil {
			if v, done, err := c.rejectForeign(ctx, j, why); done || err != nil {
				return v, err
			}
		}
		if len(c.Accounts.All()) > 1 {
			// The account may have made the task all the same, and no other would know: it has to deny it first, see freed.
			j.answeredClaim = j.rec.Claim
			return c.unknown(ctx, j)
		}
	}
	pauses := c.pauses(j)
	if err := c.unclaim(ctx, j); err != nil {
		return dispatch.Result{}, err
	}
	switch failure.Action {
	case kling.ActionWait:
		authenticated(pauses, j, failure)
		return dispatch.NoCapacity(), nil
	case kling.ActionPause:
		return c.pause(pauses, j, failure), nil
	default:
		authenticated(pauses, j, failure)
		j.tries++
		wait := clock.Backoff(j.tries)
		c.Log.WarnContext(ctx, "create call put off", append(j.Attrs(), slog.Any("err", failure), slog.Duration("wait", wait))...)
		return dispatch.TryAgain(wait).Because(trouble(failure, j.tries)), nil
	}
}

// trouble tells people what keeps a request from becoming a task.
func trouble(failure *kling.Error, tries int) string {
	return counted("Kling: "+failure.Brief(), tries)
}

// counted adds to what is in the way how often it was met.
func counted(trouble string, tries int) string {
	if tries == 1 {
		return trouble + ", 1 try"
	}
	return fmt.Sprintf("%s, %d tries", trouble, tries)
}

// unclaim forgets a send that certainly made no task. The record stays after an earlier one of unknown outcome, whose task
// may yet appear.
func (c *Creator) unclaim(ctx context.Context, j *attempt) error {
	if j.rec.Attempt > 1 {
		j.refusedClaim = j.rec.Claim
		return nil
	}
	return c.withdraw(ctx, j)
}

// withdraw takes a record back under which no task was made: the request waits as it did before.
func (c *Creator) withdraw(ctx context.Context, j *attempt) error {
	rec, seq := j.rec, j.recSeq
	// Forgotten also where the outcome is unknown: the record may be gone, and another message's in its place.
	j.rec, j.recSeq, j.ours = nil, 0, false
	if rec.Try() > 1 {
		at := c.creatingFire(rec)
		_, err := c.Store.Rearm(ctx, rec.Waits(j.Req.Sequence, at), at, seq)
		return err
	}
	return c.Store.Withdraw(ctx, seq)
}

// pause has the request wait for the end of a pause. What is not Kling's answer has paused its kind already.
func (c *Creator) pause(pauses *dispatch.Pauses, j *attempt, failure *kling.Error) dispatch.Result {
	if !failure.Foreign {
		pauses.Failed(j.Req.Kind, failure, j.sentAt, time.Now())
	}
	if j.rec != nil {
		return dispatch.TryAgain(c.waitPaused(j, time.Now()))
	}
	return dispatch.Paused()
}

// authenticated ends a pause of the credentials that an answer disproves, whatever else it says.
func authenticated(pauses *dispatch.Pauses, j *attempt, failure *kling.Error) {
	if failure.Code != 0 {
		pauses.Authenticated(j.Req.Kind, j.sentAt)
	}
}
