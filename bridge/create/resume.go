package create

import (
	"context"
	"errors"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// resume goes on with a request that is already known: from an earlier delivery, or because it repeats another. A record
// with the claim mine was stored a moment ago by a write whose ack was lost: nothing was sent under it yet.
func (c *Creator) resume(ctx context.Context, j *attempt, mine string) (dispatch.Result, error) {
	e, result, err := c.ours(ctx, j)
	if e == nil {
		return result, err
	}
	switch {
	case e.Rec.State == store.StateSubmitted:
		return c.tellAndAck(ctx, j, func(ctx context.Context) error { return c.Store.Announce(ctx, e.Rec, nil) })
	case e.Rec.State == store.StateRetrying && e.Rec.Fence == j.Req.Fence: // its next try is this message's, once more
		j.rec, j.recSeq, j.ours = nil, 0, false
		return dispatch.TryAgain(0), nil
	case e.Rec.State == store.StateRetrying: // Kling has failed the task of this message already
		return c.keepAndAck(ctx, j)
	case e.Due: // the poller is looking at it
		return dispatch.TryAgain(conflictWait), nil
	}
	j.rec, j.recSeq = e.Rec, e.Seq
	j.MoveTo(e.Rec.Account)
	if e.Rec.Claim == mine {
		body, inputErr, err := c.Inputs.Resolve(ctx, j.Req)
		if err != nil || inputErr != nil {
			return dispatch.Result{}, errors.Join(err, request.InputError(inputErr))
		}
		return c.send(ctx, j, body)
	}
	return c.lookUp(ctx, j)
}

// resumeEnded settles a request whose record is gone: because it has ended, or was withdrawn a moment ago.
func (c *Creator) resumeEnded(ctx context.Context, j *attempt) (dispatch.Result, error) {
	j.rec, j.recSeq = nil, 0
	_, ended, err := c.Store.Completion(ctx, j.Req.Token)
	if errors.Is(err, bus.ErrNoMessage) {
		return dispatch.TryAgain(firstLookupWait), nil
	}
	if err != nil {
		return dispatch.Result{}, err
	}
	switch {
	case !endedBy(ended, j.Req):
		return c.repeat(ctx, j)
	case ended.Status == events.StatusRejected:
		// A failure between completion and dead letter may have left the letter out. It is stored once.
		if err := c.Store.Dead.Bury(ctx, j.Req, j.Msg.Headers(), j.Msg.Data(), ended.Error); err != nil {
			return dispatch.Result{}, err
		}
		return c.repeat(ctx, j)
	case ended.TaskID == "" && ended.ExternalTaskID == "": // it ended before it was acked, and before anything was sent
		return c.keepUnsentAndAck(ctx, j, ended.Status)
	default: // it ended before it was acked
		return c.keepAndAck(ctx, j)
	}
}

// resumeKnown settles a request that could not be ended because something is known of it.
func (c *Creator) resumeKnown(ctx context.Context, j *attempt) (dispatch.Result, error) {
	e, result, err := c.ours(ctx, j)
	if e == nil {
		return result, err
	}
	j.rec, j.recSeq = e.Rec, e.Seq // from before a crash: its end removes it
	return dispatch.TryAgain(0), nil
}

// ours loads the record that this message goes on with. It is nil where there is none, and the message is settled by the
// result: the request has ended, repeats another, or is a newer version's.
func (c *Creator) ours(ctx context.Context, j *attempt) (*store.Entry, dispatch.Result, error) {
	e, err := c.Store.Load(ctx, j.Req.Token)
	switch {
	case errors.Is(err, bus.ErrNoMessage):
		result, err := c.resumeEnded(ctx, j)
		return nil, result, err
	case err != nil:
		return nil, dispatch.Result{}, err
	case e.Rec.Newer():
		return nil, c.leave(ctx, j, e.Rec), nil
	case e.Rec.Owner != j.Req.Sequence && !continues(e.Rec, j.Req):
		if j.doubts(e.Rec, time.Now()) {
			return nil, dispatch.Result{}, store.Behind(j.Req.Token)
		}
		result, err := c.repeat(ctx, j)
		return nil, result, err
	}
	return &e, dispatch.Result{}, nil
}

// maxBehind bounds how long a server answers reads with what is old: one that is cut off finds within 20 s that it no longer leads
// (lostQuorumInterval and lostQuorumCheck, 10 s each, nats-server 2.15.2).
const maxBehind = 30 * time.Second

// doubts reports whether a record that is another message's may be one from before the message: it says that it goes on with a
// next try, which was put into the stream after a record with the same fence. As anybody may say so, it is believed for no longer
// than reads may be old.
func (j *attempt) doubts(rec *store.Record, now time.Time) bool {
	if j.Req.Fence == "" || rec.Fence == j.Req.Fence {
		return false
	}
	if j.behindAt.IsZero() {
		j.behindAt = now
	}
	return now.Sub(j.behindAt) < maxBehind
}
