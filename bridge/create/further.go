package create

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// recall finds the request that a message goes on with, whose earlier tasks Kling has failed. The fence in its headers proves
// that, or that the message has taken the request over. Of any other message what they say means nothing: it is a request like
// others.
func (c *Creator) recall(ctx context.Context, j *attempt) error {
	if j.Req.Fence == "" || j.rec != nil {
		return nil
	}
	j.failed, j.ours = nil, false
	e, err := c.Store.Load(ctx, j.Req.Token)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && (e.Rec.Newer() || e.Rec.Fence != j.Req.Fence) {
		return nil
	}
	if err != nil {
		return err
	}
	switch {
	case continues(e.Rec, j.Req):
		j.failed = &e
	case e.Rec.Owner == j.Req.Sequence && e.Rec.State != store.StateRetrying:
		j.ours = true
	default:
		return nil
	}
	r := j.Req
	r.RequestedAt, r.Deadline, r.Metadata, r.ReplayOf = e.Rec.RequestedAt, e.Rec.Deadline, e.Rec.Metadata, e.Rec.ReplayOf
	return nil
}

// continues reports whether a message is the one by which a request goes on with its next try.
func continues(rec *store.Record, r *request.Request) bool {
	return rec.State == store.StateRetrying && r.Fence != "" && rec.Fence == r.Fence
}

// failedAt is when Kling failed the last task of a request that goes on with its next try.
func (j *attempt) failedAt() time.Time {
	tries := j.failed.Rec.Tries
	return tries[len(tries)-1].FailedAt.Time
}

// tryID chooses the external id of a further try. It returns why the request can't have one.
func (c *Creator) tryID(ctx context.Context, j *attempt) (why *events.Error, err error) {
	n := j.failed.Rec.Try()
	if j.Req.ExternalID == "" {
		j.tryID = c.Namer.TryID(j.Req.Token, n)
		return nil, nil
	}
	j.tryID = request.OwnTryID(j.Req.ExternalID, n)
	holder, err := c.Store.NoteExternalID(ctx, j.Req, j.tryID)
	if holder != "" && err == nil { // somebody has brought the very id along: one that is longer is nobody's
		j.tryID = request.OwnTryID(request.OwnTryID(j.Req.ExternalID, n)+"-"+j.failed.Rec.Fence[:8], n)
		holder, err = c.Store.NoteExternalID(ctx, j.Req, j.tryID)
	}
	if holder != "" && err == nil {
		why = heldBy(j.tryID, holder)
	}
	return why, err
}

// triedRecord is the record of a job's request if Kling has failed tasks of it; nil: it has not.
func (j *attempt) triedRecord() *store.Record {
	switch {
	case j.rec != nil && j.rec.Try() > 1:
		return j.rec
	case j.failed != nil:
		return j.failed.Rec
	default:
		return nil
	}
}

// giveUp ends a request whose next task can't be made, as failed: it did become a task.
func (c *Creator) giveUp(ctx context.Context, j *attempt, rec *store.Record, why *events.Error) (dispatch.Result, error) {
	told := *why
	told.Message = fmt.Sprintf("try %d: %s", rec.Try(), why.Message)
	if _, err := c.Store.Complete(ctx, rec.AsFailed(), store.Refused(&told)); err != nil {
		return dispatch.Result{}, err
	}
	return c.ack(ctx, j)
}
