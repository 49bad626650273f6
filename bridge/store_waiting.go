package bridge

import (
	"context"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// settleWaiting ends a request that lies in the stream and that nothing is known of, and takes it off the stream, where it
// would only be in the way of others. A replica that holds it finds it ended, too.
func (l *ledger) settleWaiting(ctx context.Context, r *request.Waiting, e ending) (first bool, err error) {
	first, err = l.endWaiting(ctx, r, e)
	if err != nil || !first {
		return false, err
	}
	return true, l.bus.Delete(ctx, l.subjects.RequestsStream(), r.Msg.Seq)
}

// rejectWaiting ends an invalid request that lies in the stream: it needs no capacity.
func (l *ledger) rejectWaiting(ctx context.Context, r *request.Waiting) error {
	why := &events.Error{Class: events.ErrorInvalid, Message: r.Invalid.Error()}
	if _, err := l.endWaiting(ctx, r, rejected(why)); err != nil {
		return err
	}
	if err := l.dead.bury(ctx, r.Req, r.Msg.Header, r.Msg.Data, why); err != nil {
		return err
	}
	return l.bus.Delete(ctx, l.subjects.RequestsStream(), r.Msg.Seq)
}

func (l *ledger) endWaiting(ctx context.Context, r *request.Waiting, e ending) (first bool, err error) {
	rec := &record{
		Version: recordVersion, RequestID: r.Req.ID, Kind: r.Req.Kind.Name, Owner: r.Msg.Seq, RequestedAt: r.Req.RequestedAt,
		Deadline: r.Req.Deadline, Metadata: r.Req.Metadata, ReplayOf: r.Req.ReplayOf, Trace: l.telemetry.CarryHeaders(r.Msg.Header),
	}
	e.untouched = true
	return l.complete(l.telemetry.Resume(ctx, &rec.Trace), rec, e)
}
