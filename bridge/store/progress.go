package store

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// Observe publishes what Kling says of a task: its end, or progress.
func (s *Store) Observe(ctx context.Context, rec *Record, task kling.Task, source events.Source) (Effect, error) {
	n, err := s.publishNews(ctx, rec, task, source)
	if err == nil && (n == EffectEnd || n == EffectLate) { // once for each task
		s.noteOdd(ctx, rec, task)
	}
	return n, err
}

func (s *Store) publishNews(ctx context.Context, rec *Record, task kling.Task, source events.Source) (Effect, error) {
	switch task.Status {
	case kling.StatusSucceed:
		return s.finish(ctx, rec, End{status: events.StatusSucceed, source: source, task: &task})
	case kling.StatusFailed:
		return s.finish(ctx, rec, End{
			status: events.StatusFailed, source: source, task: &task, message: request.ClipTo(task.Message, maxMessage), err: failure(task),
		})
	case kling.StatusProcessing:
		return s.progress(ctx, rec, events.StatusProcessing, source, &task)
	case kling.StatusSubmitted:
		return s.progress(ctx, rec, events.StatusSubmitted, source, &task)
	default:
		return EffectNone, nil
	}
}

// progress publishes a status that does not end the request, unless one as new is already known, and submitted before
// any other.
func (s *Store) progress(
	ctx context.Context, rec *Record, status events.Status, source events.Source, task *kling.Task,
) (Effect, error) {
	token := rec.Token()
	for {
		known, err := s.Guarded().Last(ctx, s.Subjects.EventsOf(token))
		var last uint64
		switch {
		case errors.Is(err, bus.ErrNoMessage) && status != events.StatusSubmitted:
			// Kling was faster than the announcement, which would now be refused as old news.
			first := &kling.Task{ID: task.ID, ExternalID: task.ExternalID, CreatedAt: task.CreatedAt}
			if _, err := s.publishProgress(ctx, rec, events.StatusSubmitted, source, first, 0); err != nil {
				return EffectNone, err
			}
			continue
		case errors.Is(err, bus.ErrNoMessage):
		case err != nil:
			return EffectNone, err
		default:
			p, _ := s.Subjects.Parse(known.Subject)
			if p.Type != events.TypeProgress {
				return EffectRepeated, nil
			}
			if progressRank(p.Status) >= progressRank(status) {
				return EffectNone, nil
			}
			last = known.Seq
		}
		stored, err := s.publishProgress(ctx, rec, status, source, task, last)
		if stored || err != nil {
			return EffectProgress, err
		}
		// Something else about this request was stored in between, or an earlier try of this publish. Look again.
	}
}

// Announce publishes submitted as the first event of a request, unless something is already known: its guard alone
// decides, without the read that progress needs.
func (s *Store) Announce(ctx context.Context, rec *Record, task *kling.Task) error {
	s.Metrics.begun(ctx, rec.Kind)
	_, err := s.publishProgress(ctx, rec, events.StatusSubmitted, events.SourceBridge, task, 0)
	return err
}

func (s *Store) publishProgress(
	ctx context.Context, rec *Record, status events.Status, source events.Source, task *kling.Task, last uint64,
) (stored bool, err error) {
	token := rec.Token()
	ev := s.event(rec, End{status: status, source: source, task: task}, s.Now())
	msgID := token + "." + string(status)
	return s.publishEvent(ctx, rec, ev, s.Subjects.Progress(rec.Kind, status, token), msgID, func(msg *nats.Msg) {
		bus.GuardSequence(msg, s.Subjects.EventsOf(token), last)
		if rec.Slots > 1 {
			msg.Header.Set(events.HeaderSlots, strconv.Itoa(rec.Slots))
		}
		if rec.Model != "" && status == events.StatusSubmitted {
			msg.Header.Set(events.HeaderModel, rec.Model)
		}
	})
}

func progressRank(s events.Status) int {
	if s == events.StatusSubmitted {
		return 1
	}
	return 2
}
