package store

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// Original is a request as it came, to be shown and to be sent again.
type Original struct {
	Priority events.Priority
	Header   nats.Header
	Body     []byte
	Bytes    int // of the body as it came
}

// Whole reports whether it has all of its body, not only how that begins.
func (o *Original) Whole() bool { return len(o.Body) == o.Bytes }

const (
	// MaxExpired is the largest body, in bytes, of which all is kept of a request that expired before anything was sent.
	MaxExpired = 64 << 10
	// keptBeginning is what is kept of a larger one, in bytes: more than is shown of any.
	keptBeginning = 8 << 10
	// headerBytes is the size of a body of which only the beginning is kept.
	headerBytes = "Kling-Body-Bytes"
)

// Keep stores a request as it came, headers and body, for as long as events are kept. Whoever ends a request or makes it
// a task does so before the request leaves the stream: from then on nothing else has its body. It may go out together with
// any other publish about the request: no guard of those looks at it. A rejected request needs none, as its dead letter is
// the same.
//
// It is no guard, and nothing depends on it but what people see and send again: where the stream has no room for anything
// new the request goes on without. It is stored once, also after a crash or a lost ack.
func (s *Store) Keep(ctx context.Context, r *request.Request, header nats.Header, body []byte) error {
	return s.keep(ctx, r, s.originalMsg(r, header, body), s.Bus.RoomToBegin)
}

// StartKeep is Keep beside whatever else the caller publishes before it calls kept, which has to be called once.
func (s *Store) StartKeep(ctx context.Context, r *request.Request, header nats.Header, body []byte) (kept func(context.Context) error) {
	whole := func(ctx context.Context) error { return s.Keep(ctx, r, header, body) }
	if s.Bus.RoomToBegin(ctx) != nil {
		return whole
	}
	msg := s.originalMsg(r, header, body)
	bus.GuardSequence(msg, s.Subjects.Original(r.Priority, r.Token), 0)
	stored := s.Bus.Start(ctx, msg)
	return func(ctx context.Context) error {
		if stored(ctx) {
			return nil
		}
		return whole(ctx)
	}
}

// KeepUnsent is Keep for a request that ended before anything was sent to Kling. It has cost nothing, so that there may be any
// number: they leave half of a bounded stream to the guards. It takes no permission but that of publishing to have one expire:
// of one with a large body only the beginning is kept.
func (s *Store) KeepUnsent(ctx context.Context, r *request.Request, end events.Status, header nats.Header, body []byte) error {
	msg := s.originalMsg(r, header, body)
	if end == events.StatusExpired && len(body) > MaxExpired {
		msg.Header.Set(headerBytes, strconv.Itoa(len(body)))
		msg.Data = body[:keptBeginning]
	}
	return s.keep(ctx, r, msg, s.Bus.RoomToSpare)
}

func (s *Store) originalMsg(r *request.Request, header nats.Header, body []byte) *nats.Msg {
	msg := nats.NewMsg(s.Subjects.Put(s.Subjects.Original(r.Priority, r.Token)))
	msg.Data = body
	copyHeaders(msg.Header, header)
	msg.Header.Set(events.HeaderRequestID, r.Token) // not the id, which may not fit on a header's line
	msg.Header.Del(headerBytes)
	return msg
}

// keep stores a request as it came where there is room.
func (s *Store) keep(ctx context.Context, r *request.Request, msg *nats.Msg, room func(context.Context) error) error {
	ctx, cancel := bounded(ctx)
	defer cancel()
	err := room(ctx)
	if err == nil {
		err = s.replaceOriginal(ctx, msg, s.Subjects.Original(r.Priority, r.Token))
	}
	if errors.Is(err, bus.ErrFull) {
		s.Log.WarnContext(ctx, "no room to keep the body of a request", slog.String("request_id", r.ID), slog.Any("err", err))
		return nil
	}
	return err
}

// replaceOriginal stores a request unless it is stored already. Where another one is, of the same id, all else of that was
// deleted by hand.
func (s *Store) replaceOriginal(ctx context.Context, msg *nats.Msg, subject string) error {
	for last := uint64(0); ctx.Err() == nil; {
		bus.GuardSequence(msg, subject, last)
		if _, stored, err := s.put(ctx, msg); stored || err != nil {
			return err
		}
		known, err := s.Guarded().Last(ctx, subject)
		switch {
		case errors.Is(err, bus.ErrNoMessage):
			last = 0
		case err != nil || bytes.Equal(known.Data, msg.Data):
			return err
		default:
			last = known.Seq
		}
	}
	return ctx.Err()
}

// Original returns a request as it came, or bus.ErrNoMessage where it was not kept.
func (s *Store) Original(ctx context.Context, token string) (*Original, error) {
	m, err := s.Guarded().Last(ctx, s.Subjects.OriginalOf(token))
	if err != nil {
		return nil, err
	}
	parsed, _ := s.Subjects.Parse(m.Subject)
	o := whole(parsed.Priority, m.Header, m.Data)
	if n, err := strconv.Atoi(m.Header.Get(headerBytes)); err == nil {
		o.Bytes = n
	}
	return o, nil
}

func whole(p events.Priority, header nats.Header, body []byte) *Original {
	return &Original{Priority: p, Header: header, Body: body, Bytes: len(body)}
}

// DeadOriginal returns the request of a dead letter as it came, or bus.ErrNoMessage.
func (s *Store) DeadOriginal(ctx context.Context, token string) (*Original, error) {
	m, err := s.Dead.Guarded.Last(ctx, s.Subjects.DeadOf(token))
	if err != nil {
		return nil, err
	}
	return DeadOriginalOf(m), nil
}

// DeadOriginalOf is the request of a dead letter as it came.
func DeadOriginalOf(m *bus.Message) *Original {
	priority := events.Priority(m.Header.Get(events.HeaderErrorPriority))
	if priority != events.PriorityHigh && priority != events.PriorityLow {
		priority = events.PriorityNormal
	}
	return whole(priority, m.Header, m.Data)
}

// OriginalOf returns a request that lies in the stream as it came.
func OriginalOf(r *request.Waiting) *Original {
	return whole(r.Req.Priority, r.Msg.Header, r.Msg.Data)
}
