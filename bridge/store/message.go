package store

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

const (
	// MaxTaskID is above every id of Kling's, in bytes: its task ids have 18 to 22 characters (recorded 2026-09).
	MaxTaskID = 128
)

// publishEvent is the only way a public event is published, except for archived ones.
func (s *Store) publishEvent(
	ctx context.Context, rec *Record, ev *events.Event, subject, msgID string, guard func(*nats.Msg),
) (stored bool, err error) {
	ctx, span := s.sendSpan(ctx, subject, rec, msgID)
	defer func() { telemetry.EndSpan(span, err) }()
	msg, err := s.eventMsg(ctx, ev, subject, msgID)
	if err != nil {
		return false, err
	}
	guard(msg)
	_, stored, err = s.put(ctx, msg)
	return stored, err
}

// Archived publishes what became of the files of a result, once for each request, whatever it is.
func (s *Store) Archived(ctx context.Context, rec *Record, status events.Status, body *events.Archived) (err error) {
	token := rec.Token()
	subject, msgID := s.Subjects.Archived(rec.Kind, status, token), token+".archived"
	ctx, span := s.sendSpan(ctx, subject, rec, msgID)
	defer func() { telemetry.EndSpan(span, err) }()
	ev := s.event(rec, End{status: status, source: events.SourceBridge}, s.Now())
	msg := s.headMsg(ctx, ev, subject, msgID)
	msg.Header.Set(events.HeaderCEType, ceTypeArchived+string(status))
	msg.Header.Set(events.HeaderCEDataSchema, events.ArchivedSchemaURL)
	bus.GuardSequence(msg, s.Subjects.ArchivedOf(token), 0)
	if msg.Data, err = encodeBody(body, body.RequestID); err != nil {
		return err
	}
	_, _, err = s.put(ctx, msg)
	return err
}

// eventMsg builds the message of an event, leaving Kling's object out where it would not fit.
func (s *Store) eventMsg(ctx context.Context, ev *events.Event, subject, msgID string) (msg *nats.Msg, err error) {
	msg = s.headMsg(ctx, ev, subject, msgID)
	if msg.Data, err = encodeBody(ev, ev.RequestID); err != nil {
		return nil, err
	}
	if s.fits(msg) {
		return msg, nil
	}
	ev.Kling, ev.KlingOmitted = nil, true
	msg.Data, err = encodeBody(ev, ev.RequestID)
	return msg, err
}

// headMsg is the message of an event with its headers and no body yet.
func (s *Store) headMsg(ctx context.Context, ev *events.Event, subject, msgID string) *nats.Msg {
	h := make(nats.Header, eventHeaders+len(ev.Metadata))
	h.Set(jetstream.MsgIDHeader, msgID)
	h.Set("Content-Type", "application/json")
	h.Set(events.HeaderRequestID, request.HeaderSafe(ev.RequestID))
	h.Set(events.HeaderStatus, string(ev.Status))
	h.Set(events.HeaderSource, string(ev.Source))
	if ev.TaskID != "" {
		h.Set(events.HeaderTaskID, request.ClipTo(request.HeaderSafe(ev.TaskID), MaxTaskID))
	}
	if ev.ExternalTaskID != "" {
		h.Set(events.HeaderExternalTaskID, request.ClipTo(request.HeaderSafe(ev.ExternalTaskID), MaxTaskID))
	}
	if ev.Account != "" {
		h.Set(events.HeaderAccount, ev.Account)
	}
	if len(ev.Tries) > 0 {
		h.Set(events.HeaderTry, strconv.Itoa(len(ev.Tries)+1))
	}
	for name, value := range ev.Metadata {
		h.Set(events.HeaderMetaPrefix+name, request.HeaderSafe(value))
	}
	setCloudEvent(h, s.Subjects, ev, msgID)
	s.Telemetry.Inject(ctx, h)
	return &nats.Msg{Subject: s.Subjects.Put(subject), Header: h}
}

// eventHeaders is about how many headers an event has, with its guard: a map that grows is made again.
const eventHeaders = 22

// headerRoom is kept for the guard and timer headers that are set after the event was measured.
const headerRoom = 1024

func (s *Store) fits(msg *nats.Msg) bool {
	return int64(msg.Size())+headerRoom <= s.Bus.MaxPayload()
}
