package store

import (
	"context"
	"errors"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// Complete ends a request with one message, which does three things at once: it is the event, its guard refuses any
// other end of the same request for as long as this one is kept, and it removes the poll timer. Callbacks, polls,
// expiry and cancellation may therefore all race; first tells whether this end was the one.
//
// A task's end that loses against expired or cancelled is published once as late: its result was paid for.
func (s *Store) Complete(ctx context.Context, rec *Record, end End) (first bool, err error) {
	n, err := s.finish(ctx, rec, end, nil)
	return n == EffectEnd, err
}

// finish is complete for those who want to know what became of an end that was not the first. task is nil where nothing new is
// known of one. It does not outlive the call, which spares each callback a copy.
func (s *Store) finish(ctx context.Context, rec *Record, end End, task *kling.Task) (Effect, error) {
	token := rec.Token()
	now := s.Now()
	st := s.story(rec, end, task, now)
	ev := &st.Event
	st.completedAt = events.At(now)
	ev.CompletedAt = &st.completedAt
	ev.Error = end.err
	ev.Units = rec.sumUnits(ev.Units)

	subject := s.Subjects.Completion(rec.Kind, end.status, token)
	guard := s.Subjects.CompletionOf(token)
	if end.Untouched || end.after > 0 {
		guard = s.Subjects.AnythingOf(token)
	}
	pool, err := s.pool(rec.Kind)
	if err != nil {
		return EffectNone, err
	}
	after, untouched := end.after, end.Untouched // what the function below refers to outlives the call
	first, err := s.publishEvent(ctx, rec, ev, subject, token+".completion", func(d *bus.Draft) {
		d.GuardSequence(guard, after)
		if !untouched {
			d.PurgeTimer(s.Subjects.Pending(rec.Kind, string(pool), token))
		}
	})
	switch {
	case err != nil:
		return EffectNone, err
	case first:
		s.noteEnd(ctx, ev)
		return EffectEnd, nil
	case task != nil:
		return s.late(ctx, rec, ev)
	default:
		return EffectRepeated, nil
	}
}

// late publishes the end of a task whose request had already expired or was cancelled.
func (s *Store) late(ctx context.Context, rec *Record, ev *events.Event) (Effect, error) {
	token := rec.Token()
	_, known, err := s.Completion(ctx, token)
	if errors.Is(err, bus.ErrNoMessage) { // it has just aged out
		return EffectRepeated, nil
	}
	if err != nil {
		return EffectNone, err
	}
	if !MayBeLate(known.Status) || among(known.Tries, ev.TaskID, "") {
		return EffectRepeated, nil
	}
	ev.Metadata, ev.RequestedAt, ev.ReplayOf = known.Metadata, known.RequestedAt, known.ReplayOf
	subject := s.Subjects.Late(rec.Kind, ev.Status, token)
	first, err := s.publishEvent(ctx, rec, ev, subject, token+".late", func(d *bus.Draft) {
		d.GuardSequence(s.Subjects.LateOf(token), 0)
	})
	switch {
	case err != nil:
		return EffectNone, err
	case first:
		s.noteLate(ctx, ev)
		return EffectLate, nil
	default:
		return EffectRepeated, nil
	}
}
