package create

import (
	"context"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
)

// putOff lets a request wait that Kling certainly made no task of.
func (c *Creator) putOff(ctx context.Context, j *attempt, failure *kling.Error) (dispatch.Result, error) {
	if failure.Foreign && failure.Action == kling.ActionPause {
		if why := c.foreign(j, failure); why != nil {
			if v, done, err := c.rejectForeign(ctx, j, why); done || err != nil {
				return v, err
			}
		}
	}
	held := j.rec.Attempt > 1
	if held { // the record stays: an earlier send, of unknown outcome, may yet appear
		j.refusedClaim = j.rec.Claim
	} else {
		// Forgotten also where the outcome is unknown: the record may be gone, and another message's in its place.
		seq := j.recSeq
		j.rec, j.recSeq = nil, 0
		if err := c.Store.Withdraw(ctx, seq); err != nil {
			return dispatch.Result{}, err
		}
	}
	switch {
	case failure.Action == kling.ActionWait:
		c.authenticated(j, failure)
		return dispatch.NoCapacity(), nil
	case failure.Action == kling.ActionPause && !failure.Foreign:
		c.Pauses.Failed(j.Req.Kind, failure, j.sentAt, time.Now())
	case failure.Action != kling.ActionPause:
		c.authenticated(j, failure)
		j.tries++
		wait := clock.Backoff(j.tries)
		c.Log.WarnContext(ctx, "create call put off", append(j.Attrs(), slog.Any("err", failure), slog.Duration("wait", wait))...)
		return dispatch.TryAgain(wait), nil
	}
	if held {
		return dispatch.TryAgain(c.waitPaused(j, time.Now())), nil
	}
	return dispatch.Paused(), nil
}

// authenticated ends a pause of the credentials that an answer disproves, whatever else it says.
func (c *Creator) authenticated(j *attempt, failure *kling.Error) {
	if failure.Code != 0 {
		c.Pauses.Authenticated(j.Req.Kind, j.sentAt)
	}
}
