package store

import (
	"context"
	"errors"
	"log/slog"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// NextTry goes on with a request whose task Kling has failed, once the timer of its record has fired: seq is where that is. It
// tells of the failure, puts the request into the stream unless it is there, and sets the timer anew, should the message get
// lost. One whose deadline has passed meanwhile expires.
func (s *Store) NextTry(ctx context.Context, rec *Record, seq uint64) error {
	newest, err := s.isNewest(ctx, rec.Token(), seq)
	if !newest || err != nil { // somebody has gone on with it
		return err
	}
	if _, _, err := s.Completion(ctx, rec.Token()); !errors.Is(err, bus.ErrNoMessage) {
		return err
	}
	now := s.Now()
	if !now.Before(rec.Deadline) {
		return s.endRetry(ctx, rec, Expired())
	}
	if err := s.tellRetry(ctx, rec); err != nil {
		return err
	}
	queued, err := s.enqueue(ctx, rec)
	if errors.Is(err, errNoOriginal) {
		s.Log.ErrorContext(ctx, "no further try", slog.String("request_id", rec.RequestID), slog.Any("err", err))
		_, err := s.Complete(ctx, rec.AsFailed(), Unrepeatable(rec))
		return err
	}
	if err != nil {
		return err
	}
	at := clock.Earlier(now.Add(CreatingTimer), rec.Deadline)
	_, err = s.Rearm(ctx, rec.Waits(queued, at), at, seq)
	return err
}

// endRetry ends a request that waits for its next try, and takes it off the stream.
func (s *Store) endRetry(ctx context.Context, rec *Record, e End) error {
	if _, err := s.Complete(ctx, rec, e); err != nil {
		return err
	}
	m, err := s.queued(ctx, rec)
	if m == nil || err != nil {
		return err
	}
	return s.Bus.Delete(ctx, s.Subjects.RequestsStream(), m.Seq)
}

// CancelRetry ends a request that waits for its next try, as cancelled. It reports false if it does not wait, or does so no
// longer: whichever comes first, the cancellation or who creates the next task, the other is refused.
func (s *Store) CancelRetry(ctx context.Context, token string) (cancelled bool, err error) {
	newest, err := s.Guarded().Last(ctx, s.Subjects.AnythingOf(token)) // first: the guard finds what comes after it
	if err != nil {
		return false, ignoreGone(err)
	}
	e, err := s.Load(ctx, token)
	if err != nil || e.Rec.State != StateRetrying {
		return false, ignoreGone(err)
	}
	end := Cancelled()
	end.after = newest.Seq
	if cancelled, err = s.Complete(ctx, e.Rec, end); !cancelled || err != nil {
		return false, err
	}
	m, err := s.queued(ctx, e.Rec)
	if m == nil || err != nil {
		return true, err
	}
	return true, s.Bus.Delete(ctx, s.Subjects.RequestsStream(), m.Seq)
}

// queued is the message by which a request goes on with its next try, while it is in the stream; nil: it is not.
func (s *Store) queued(ctx context.Context, rec *Record) (*bus.Message, error) {
	if rec.Queued == 0 {
		return nil, nil
	}
	m, err := s.requestAt(ctx, rec.Queued)
	if m == nil || err != nil || m.Header.Get(request.HeaderFence) != rec.Fence {
		return nil, err
	}
	return m, nil
}

// requestAt is nil where there is no message of that sequence any more.
func (s *Store) requestAt(ctx context.Context, seq uint64) (*bus.Message, error) {
	m, err := s.Bus.Next(ctx, s.Subjects.RequestsStream(), s.Subjects.AllRequests(), seq)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && m.Seq != seq {
		return nil, nil
	}
	return m, err
}

// errNoOriginal tells that what was asked for is not known any more.
var errNoOriginal = errors.New("what was asked for was not kept")

// enqueue puts a request into the stream for its next try, unless it is there, and returns where. The message has nothing of
// the request's own headers but the account that it demands: all else is in the record.
func (s *Store) enqueue(ctx context.Context, rec *Record) (seq uint64, err error) {
	if m, err := s.queued(ctx, rec); m != nil || err != nil {
		return messageSeq(m), err
	}
	o, err := s.asked(ctx, rec)
	if err != nil {
		return 0, err
	}
	msg := nats.NewMsg(s.Subjects.Request(rec.Kind, o.Priority))
	msg.Data = o.Body
	s.Telemetry.Inject(s.Telemetry.Resume(ctx, &rec.Trace), events.HeaderCarrier(msg.Header))
	msg.Header.Set(events.HeaderRequestID, rec.RequestID)
	msg.Header.Set(request.HeaderFence, rec.Fence)
	msg.Header.Set(jetstream.MsgIDHeader, rec.Token()+"."+rec.Fence)
	if account := events.HeaderCarrier(o.Header).Get(events.HeaderAccount); account != "" {
		msg.Header.Set(events.HeaderAccount, account)
	}
	ctx, cancel := context.WithTimeout(ctx, PublishTimeout)
	defer cancel()
	ack, err := s.Bus.Publish(ctx, msg)
	if err == nil && !ack.Stored {
		return ack.Duplicate, nil
	}
	return ack.Seq, err
}

func messageSeq(m *bus.Message) uint64 {
	if m == nil {
		return 0
	}
	return m.Seq
}

// asked is a request as it came: as it was kept, or from the stream of requests, which it may not have left yet.
func (s *Store) asked(ctx context.Context, rec *Record) (*Original, error) {
	o, err := s.wholeOriginal(ctx, rec.Token())
	if !errors.Is(err, bus.ErrNoMessage) {
		return o, err
	}
	m, err := s.requestAt(ctx, rec.Owner)
	if err != nil {
		return nil, err
	}
	if m != nil {
		if o := s.originalIn(m, rec); o != nil {
			return o, nil
		}
	}
	o, err = s.wholeOriginal(ctx, rec.Token()) // it may have left the stream meanwhile
	if errors.Is(err, bus.ErrNoMessage) {
		err = errNoOriginal
	}
	return o, err
}

// wholeOriginal leaves out one of which only the beginning was kept: of an earlier request with the same id, as such a one never
// was a task.
func (s *Store) wholeOriginal(ctx context.Context, token string) (*Original, error) {
	o, err := s.Original(ctx, token)
	if err == nil && !o.Whole() {
		return nil, bus.ErrNoMessage
	}
	return o, err
}

// originalIn is nil if the message is not of the record's request: a stream that was made anew counts from one again.
func (s *Store) originalIn(m *bus.Message, rec *Record) *Original {
	parsed, _ := s.Subjects.Parse(m.Subject)
	kind, known := s.Kinds.Lookup(parsed.Kind)
	if !known || kind.Name != rec.Kind {
		return nil
	}
	r, _ := request.Parse(request.Raw{
		Kind: kind, Priority: parsed.Priority, Header: m.Header, Data: m.Data, Sequence: m.Seq, StoredAt: m.Time,
	}, request.Defaults{})
	if r.Token != rec.Token() {
		return nil
	}
	return whole(parsed.Priority, m.Header, m.Data)
}
