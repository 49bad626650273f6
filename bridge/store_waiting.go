package bridge

import (
	"context"

	"github.com/klingbridge/klingbridge/events"
)

// settleWaiting ends a request that lies in the stream and that nothing is known of, and takes it off the stream, where it
// would only be in the way of others. A replica that holds it finds it ended, too.
func (l *ledger) settleWaiting(ctx context.Context, r *waitingRequest, e ending) (first bool, err error) {
	first, err = l.endWaiting(ctx, r, e)
	if err != nil || !first {
		return false, err
	}
	return true, l.bus.Delete(ctx, l.subjects.RequestsStream(), r.msg.Seq)
}

// rejectWaiting ends an invalid request that lies in the stream: it needs no capacity.
func (l *ledger) rejectWaiting(ctx context.Context, r *waitingRequest) error {
	why := &events.Error{Class: events.ErrorInvalid, Message: r.invalid.Error()}
	if _, err := l.endWaiting(ctx, r, rejected(why)); err != nil {
		return err
	}
	if err := l.dead.bury(ctx, r.req, r.msg.Header, r.msg.Data, why); err != nil {
		return err
	}
	return l.bus.Delete(ctx, l.subjects.RequestsStream(), r.msg.Seq)
}

func (l *ledger) endWaiting(ctx context.Context, r *waitingRequest, e ending) (first bool, err error) {
	rec := &record{
		Version: recordVersion, RequestID: r.req.id, Kind: r.req.kind.Name, Owner: r.msg.Seq, RequestedAt: r.req.requestedAt,
		Deadline: r.req.deadline, Metadata: r.req.metadata, ReplayOf: r.req.replayOf, Trace: l.telemetry.CarryHeaders(r.msg.Header),
	}
	e.untouched = true
	return l.complete(l.telemetry.Resume(ctx, &rec.Trace), rec, e)
}
