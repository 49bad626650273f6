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

// publishEvent is the only way a public event is published, but for archived ones and, beside other messages, startEvent.
func (s *Store) publishEvent(
	ctx context.Context, rec *Record, ev *events.Event, subject, msgID string, guard func(*bus.Draft),
) (stored bool, err error) {
	err = s.sendEvent(ctx, rec, ev, subject, msgID, guard, func(ctx context.Context, msg *nats.Msg) (err error) {
		_, stored, err = s.put(ctx, msg)
		return err
	})
	return s.noteStored(rec, ev, stored), err
}

// startEvent is publishEvent beside whatever else the caller publishes before it calls stored, at most once: it reports whether the
// event is stored. Where it is not, or nobody knows, publishEvent is to follow.
func (s *Store) startEvent(
	ctx context.Context, rec *Record, ev *events.Event, subject, msgID string, guard func(*bus.Draft),
) (stored func(context.Context) bool, err error) {
	var sent func(context.Context) bool
	err = s.sendEvent(ctx, rec, ev, subject, msgID, guard, func(ctx context.Context, msg *nats.Msg) error {
		sent = s.Bus.Start(ctx, msg)
		return nil
	})
	return func(ctx context.Context) bool { return s.noteStored(rec, ev, sent(ctx)) }, err
}

// sendEvent puts the message of an event together and has it sent, in a span.
func (s *Store) sendEvent(
	ctx context.Context, rec *Record, ev *events.Event, subject, msgID string, guard func(*bus.Draft),
	send func(context.Context, *nats.Msg) error,
) (err error) {
	ctx, span := s.sendSpan(ctx, subject, rec, msgID)
	defer func() { telemetry.EndSpan(span, err) }()
	d, err := s.eventDraft(ctx, ev, subject, msgID)
	if err != nil {
		return err
	}
	defer d.Release()
	guard(d)
	return send(ctx, &d.Msg)
}

// noteStored tells whoever follows what is stored.
func (s *Store) noteStored(rec *Record, ev *events.Event, stored bool) bool {
	if stored && s.Stored != nil {
		s.Stored(rec, ev.Status)
	}
	return stored
}

// Archived publishes what became of the files of a result, once for each request, whatever it is.
func (s *Store) Archived(ctx context.Context, rec *Record, status events.Status, body *events.Archived) (err error) {
	token := rec.Token()
	subject, msgID := s.Subjects.Archived(rec.Kind, status, token), token+".archived"
	ctx, span := s.sendSpan(ctx, subject, rec, msgID)
	defer func() { telemetry.EndSpan(span, err) }()
	ev := s.event(rec, End{status: status, source: events.SourceBridge}, nil, s.Now())
	d := s.headDraft(ctx, ev, subject, msgID)
	defer d.Release()
	d.Set(events.HeaderCEType, ceTypeArchived+string(status))
	d.Set(events.HeaderCEDataSchema, events.ArchivedSchemaURL)
	d.GuardSequence(s.Subjects.ArchivedOf(token), 0)
	if d.Data, err = encodeBody(body, body.RequestID); err != nil {
		return err
	}
	_, _, err = s.put(ctx, &d.Msg)
	return err
}

// eventDraft builds the message of an event, leaving Kling's object out where it would not fit.
func (s *Store) eventDraft(ctx context.Context, ev *events.Event, subject, msgID string) (d *bus.Draft, err error) {
	d = s.headDraft(ctx, ev, subject, msgID)
	if d.Data, err = encodeEvent(d.Data, ev); err == nil && !s.fits(d) {
		ev.Kling, ev.KlingOmitted = nil, true
		d.Data, err = encodeEvent(d.Data[:0], ev)
	}
	if err != nil {
		d.Release()
		return nil, err
	}
	return d, nil
}

// headDraft is the message of an event with its headers and no body yet.
func (s *Store) headDraft(ctx context.Context, ev *events.Event, subject, msgID string) *bus.Draft {
	d := bus.NewDraft(s.Subjects.Put(subject))
	d.Set(jetstream.MsgIDHeader, msgID)
	d.Set(events.HeaderContentType, events.ContentTypeJSON)
	d.Set(events.HeaderRequestID, request.HeaderSafe(ev.RequestID))
	d.Set(events.HeaderStatus, string(ev.Status))
	d.Set(events.HeaderSource, string(ev.Source))
	if ev.TaskID != "" {
		d.Set(events.HeaderTaskID, request.ClipTo(request.HeaderSafe(ev.TaskID), MaxTaskID))
	}
	if ev.ExternalTaskID != "" {
		d.Set(events.HeaderExternalTaskID, request.ClipTo(request.HeaderSafe(ev.ExternalTaskID), MaxTaskID))
	}
	if ev.Account != "" {
		d.Set(events.HeaderAccount, ev.Account)
	}
	if len(ev.Tries) > 0 {
		d.Set(events.HeaderTry, strconv.Itoa(len(ev.Tries)+1))
	}
	for name, value := range ev.Metadata {
		d.Set(events.HeaderMetaPrefix+name, request.HeaderSafe(value))
	}
	setCloudEvent(d, s.Subjects, ev, msgID)
	s.Telemetry.Inject(ctx, d)
	return d
}

// headerRoom is kept for the guard and timer headers that are set after the event was measured.
const headerRoom = 1024

func (s *Store) fits(d *bus.Draft) bool {
	return int64(d.Size())+headerRoom <= s.Bus.MaxPayload()
}
