package store

import (
	"context"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// Observe publishes what Kling says of a task: its end, or progress.
func (s *Store) Observe(ctx context.Context, rec *Record, task kling.Task, source events.Source) (Effect, error) {
	publish := s.publishNews
	if rec.Retries > 0 && task.Status.Terminal() {
		publish = s.observeTry
	}
	n, err := publish(ctx, rec, task, source)
	if err == nil && (n == EffectEnd || n == EffectLate) { // once for each task
		s.noteOdd(ctx, rec, task)
	}
	return n, err
}

func (s *Store) publishNews(ctx context.Context, rec *Record, task kling.Task, source events.Source) (Effect, error) {
	switch task.Status {
	case kling.StatusSucceed:
		return s.finish(ctx, rec, End{status: events.StatusSucceed, source: source}, &task)
	case kling.StatusFailed:
		return s.finish(ctx, rec, End{
			status: events.StatusFailed, source: source, message: request.ClipTo(task.Message, maxMessage), err: failure(task),
		}, &task)
	case kling.StatusProcessing:
		return s.progress(ctx, rec, events.StatusProcessing, source, &task)
	case kling.StatusSubmitted:
		return s.progress(ctx, rec, events.StatusSubmitted, source, &task)
	default:
		return EffectNone, nil
	}
}

// progress publishes a status that does not end the request, unless one as new is already known, and submitted before
// any other of its try.
func (s *Store) progress(
	ctx context.Context, rec *Record, status events.Status, source events.Source, task *kling.Task,
) (Effect, error) {
	ev := s.event(rec, End{status: status, source: source}, task, s.Now())
	return s.publishNext(ctx, rec, ev)
}

// publishNext publishes an event of progress, unless what is known is as new.
func (s *Store) publishNext(ctx context.Context, rec *Record, ev *events.Event) (Effect, error) {
	token := rec.Token()
	for {
		at, last, ended, err := s.lastProgress(ctx, token)
		if err != nil {
			return EffectNone, err
		}
		if ended {
			return EffectRepeated, nil
		}
		next := place{rec.Try(), progressRank(ev.Status)}
		if !at.before(next) {
			return EffectNone, nil
		}
		if at.try < next.try && ev.Status == events.StatusProcessing {
			// Kling was faster than the announcement, which would now be refused as old news.
			first := &kling.Task{ID: ev.TaskID, ExternalID: ev.ExternalTaskID}
			if ev.SubmittedAt != nil {
				first.CreatedAt = ev.SubmittedAt.Time
			}
			begun := s.event(rec, End{status: events.StatusSubmitted, source: ev.Source}, first, s.Now())
			if _, err := s.publishProgress(ctx, rec, begun, last); err != nil {
				return EffectNone, err
			}
			continue
		}
		stored, err := s.publishProgress(ctx, rec, ev, last)
		if stored || err != nil {
			return EffectProgress, err
		}
		// Something else about this request was stored in between, or an earlier try of this publish. Look again.
	}
}

// lastProgress tells where the newest event of a request stands, and its sequence, unless that ends it.
func (s *Store) lastProgress(ctx context.Context, token string) (at place, seq uint64, ended bool, err error) {
	known, err := s.Guarded().Last(ctx, s.Subjects.EventsOf(token))
	if err != nil {
		return place{}, 0, false, ignoreGone(err)
	}
	p, _ := s.Subjects.Parse(known.Subject)
	return place{tryOf(known.Header), progressRank(p.Status)}, known.Seq, p.Type != events.TypeProgress, nil
}

// Announce publishes submitted as the first event of a task, unless something is already known of it. Of a first one its guard
// alone decides, without the read that progress needs.
func (s *Store) Announce(ctx context.Context, rec *Record, task *kling.Task) error {
	s.Metrics.begun(rec.Kind)
	if rec.Try() > 1 {
		_, err := s.progress(ctx, rec, events.StatusSubmitted, events.SourceBridge, task)
		return err
	}
	ev := s.event(rec, End{status: events.StatusSubmitted, source: events.SourceBridge}, task, s.Now())
	_, err := s.publishProgress(ctx, rec, ev, 0)
	return err
}

// StartAnnounce is Announce, of a first try, beside whatever else the caller publishes before it calls announced, at most once.
func (s *Store) StartAnnounce(ctx context.Context, rec *Record, task *kling.Task) (announced func(context.Context) error) {
	whole := func(ctx context.Context) error { return s.Announce(ctx, rec, task) }
	ev := s.event(rec, End{status: events.StatusSubmitted, source: events.SourceBridge}, task, s.Now())
	stored, err := s.startEvent(ctx, rec, ev, s.progressSubject(rec, ev), progressID(rec, ev), s.progressGuard(rec, ev, 0))
	if err != nil {
		return whole
	}
	s.Metrics.begun(rec.Kind)
	return func(ctx context.Context) error {
		if stored(ctx) {
			return nil
		}
		return whole(ctx)
	}
}

func (s *Store) publishProgress(ctx context.Context, rec *Record, ev *events.Event, last uint64) (stored bool, err error) {
	return s.publishEvent(ctx, rec, ev, s.progressSubject(rec, ev), progressID(rec, ev), s.progressGuard(rec, ev, last))
}

func (s *Store) progressSubject(rec *Record, ev *events.Event) string {
	return s.Subjects.Progress(rec.Kind, ev.Status, rec.Token())
}

func progressID(rec *Record, ev *events.Event) string {
	id := rec.Token() + "." + string(ev.Status)
	if n := rec.Try(); n > 1 {
		id += "-" + strconv.Itoa(n)
	}
	return id
}

// progressGuard sets what an event of progress has beside what all have: it is stored after the event of that sequence, or first.
func (s *Store) progressGuard(rec *Record, ev *events.Event, last uint64) func(*bus.Draft) {
	return func(d *bus.Draft) {
		d.GuardSequence(s.Subjects.EventsOf(rec.Token()), last)
		if rec.Slots > 1 {
			d.Set(events.HeaderSlots, strconv.Itoa(rec.Slots))
		}
		if rec.Model != "" && ev.Status == events.StatusSubmitted {
			d.Set(events.HeaderModel, rec.Model)
		}
	}
}

// place is where an event of progress stands among those of its request. The zero value is before all.
type place struct{ try, rank int }

func (p place) before(other place) bool {
	return p.try < other.try || p.try == other.try && p.rank < other.rank
}

// tryOf is which try an event is of.
func tryOf(h nats.Header) int {
	n, _ := strconv.Atoi(h.Get(events.HeaderTry)) // absent from those of the first
	return max(n, 1)
}

func progressRank(s events.Status) int {
	switch s {
	case events.StatusSubmitted:
		return 1
	case events.StatusRetrying:
		return 3
	default:
		return 2
	}
}
