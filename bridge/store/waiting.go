package store

import (
	"context"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// SettleWaiting ends a request that lies in the stream and that nothing is known of, and takes it off the stream, where it
// would only be in the way of others. A replica that holds it finds it ended, too.
func (s *Store) SettleWaiting(ctx context.Context, r *request.Waiting, e End) (first bool, err error) {
	first, err = s.endWaiting(ctx, r, e)
	if err != nil || !first {
		return false, err
	}
	if err := s.KeepUnsent(ctx, r.Req, e.status, r.Msg.Header, r.Msg.Data); err != nil {
		return true, err
	}
	return true, s.Bus.Delete(ctx, s.Subjects.RequestsStream(), r.Msg.Seq)
}

// RejectWaiting ends an invalid request that lies in the stream: it needs no capacity.
func (s *Store) RejectWaiting(ctx context.Context, r *request.Waiting) error {
	why := &events.Error{Class: events.ErrorInvalid, Message: r.Invalid.Error()}
	if _, err := s.endWaiting(ctx, r, Rejected(why)); err != nil {
		return err
	}
	if err := s.Dead.Bury(ctx, r.Req, r.Msg.Header, r.Msg.Data, why); err != nil {
		return err
	}
	return s.Bus.Delete(ctx, s.Subjects.RequestsStream(), r.Msg.Seq)
}

func (s *Store) endWaiting(ctx context.Context, r *request.Waiting, e End) (first bool, err error) {
	rec := s.WaitingRecord(r, "")
	e.Untouched = true
	return s.Complete(s.Telemetry.Resume(ctx, &rec.Trace), rec, e)
}

// WaitingRecord is what a request that lies in the stream says of itself. Nothing is known of a task of its but, where it may
// have one, the external id.
func (s *Store) WaitingRecord(r *request.Waiting, externalID string) *Record {
	return &Record{
		Version: versionOf("", 0), RequestID: r.Req.ID, Kind: r.Req.Kind.Name, State: StateUnheard, Owner: r.Msg.Seq,
		ExternalTaskID: externalID, RequestedAt: r.Req.RequestedAt, Deadline: r.Req.Deadline, Metadata: r.Req.Metadata, ReplayOf: r.Req.ReplayOf,
		Trace: s.Telemetry.CarryHeaders(r.Msg.Header),
	}
}
