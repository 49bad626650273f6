package bridge

import (
	"context"
	"errors"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// ending is how a request ends.
type ending struct {
	status  events.Status
	source  events.Source
	task    *kling.Task // nil where there is none, or where nothing new is known of it
	message string
	err     *events.Error // nil on succeed
	// untouched demands that nothing at all is known of the request: it ends one that was never taken in hand.
	untouched bool
}

// news is what became of something that was learned of a request.
type news int

// What may become of it.
const (
	newsNone     news = iota // known before, or a status that says nothing
	newsProgress             // published as progress
	newsEnd                  // published as the completion
	newsLate                 // published as late, beside the completion
	newsRepeated             // nothing: the request had already ended
)

// ended reports whether the request has ended, whoever published that.
func (n news) ended() bool { return n >= newsEnd }

// observe publishes what Kling says of a task: its end, or progress.
func (l *ledger) observe(ctx context.Context, rec *record, task kling.Task, source events.Source) (news, error) {
	n, err := l.publishNews(ctx, rec, task, source)
	if err == nil && (n == newsEnd || n == newsLate) { // once for each task
		l.noteOdd(ctx, rec, task)
	}
	return n, err
}

func (l *ledger) publishNews(ctx context.Context, rec *record, task kling.Task, source events.Source) (news, error) {
	switch task.Status {
	case kling.StatusSucceed:
		return l.finish(ctx, rec, ending{status: events.StatusSucceed, source: source, task: &task})
	case kling.StatusFailed:
		return l.finish(ctx, rec, ending{
			status: events.StatusFailed, source: source, task: &task, message: request.ClipTo(task.Message, maxMessage), err: failure(task),
		})
	case kling.StatusProcessing:
		return l.progress(ctx, rec, events.StatusProcessing, source, &task)
	case kling.StatusSubmitted:
		return l.progress(ctx, rec, events.StatusSubmitted, source, &task)
	default:
		return newsNone, nil
	}
}

// failure says why Kling failed a task. The same content would fail again; another failure may not.
func failure(task kling.Task) *events.Error {
	class := events.ErrorClass(kling.ClassifyFailure(task))
	return &events.Error{Class: class, Message: request.ClipTo(task.Message, maxMessage), Retryable: class == events.ErrorKling}
}

// maxMessage bounds what an event repeats of Kling's explanation outside the task object.
const maxMessage = 4 << 10

// complete ends a request with one message, which does three things at once: it is the event, its guard refuses any
// other end of the same request for as long as this one is kept, and it removes the poll timer. Callbacks, polls,
// expiry and cancellation may therefore all race; first tells whether this end was the one.
//
// A task's end that loses against expired or cancelled is published once as late: its result was paid for.
func (l *ledger) complete(ctx context.Context, rec *record, end ending) (first bool, err error) {
	n, err := l.finish(ctx, rec, end)
	return n == newsEnd, err
}

// finish is complete for those who want to know what became of an end that was not the first.
func (l *ledger) finish(ctx context.Context, rec *record, end ending) (news, error) {
	token := rec.token()
	now := l.now()
	ev := l.event(rec, end, now)
	completedAt := events.At(now)
	ev.CompletedAt = &completedAt
	ev.Error = end.err

	subject := l.subjects.Completion(rec.Kind, end.status, token)
	guard := l.subjects.CompletionOf(token)
	if end.untouched {
		guard = l.subjects.AnythingOf(token)
	}
	pool, err := l.pool(rec.Kind)
	if err != nil {
		return newsNone, err
	}
	first, err := l.publishEvent(ctx, rec, ev, subject, token+".completion", func(msg *nats.Msg) {
		bus.GuardSequence(msg, guard, 0)
		if !end.untouched {
			bus.PurgeTimer(msg, l.subjects.Pending(rec.Kind, string(pool), token))
		}
	})
	switch {
	case err != nil:
		return newsNone, err
	case first:
		l.noteEnd(ctx, ev)
		return newsEnd, nil
	case end.task != nil:
		return l.late(ctx, rec, ev)
	default:
		return newsRepeated, nil
	}
}

// late publishes the end of a task whose request had already expired or was cancelled.
func (l *ledger) late(ctx context.Context, rec *record, ev *events.Event) (news, error) {
	token := rec.token()
	_, known, err := l.completion(ctx, token)
	if errors.Is(err, bus.ErrNoMessage) { // it has just aged out
		return newsRepeated, nil
	}
	if err != nil {
		return newsNone, err
	}
	if !mayBeLate(known.Status) {
		return newsRepeated, nil
	}
	ev.Metadata, ev.RequestedAt, ev.ReplayOf = known.Metadata, known.RequestedAt, known.ReplayOf
	subject := l.subjects.Late(rec.Kind, ev.Status, token)
	first, err := l.publishEvent(ctx, rec, ev, subject, token+".late", func(msg *nats.Msg) {
		bus.GuardSequence(msg, l.subjects.LateOf(token), 0)
	})
	switch {
	case err != nil:
		return newsNone, err
	case first:
		l.noteLate(ctx, ev)
		return newsLate, nil
	default:
		return newsRepeated, nil
	}
}

// progress publishes a status that does not end the request, unless one as new is already known, and submitted before
// any other.
func (l *ledger) progress(
	ctx context.Context, rec *record, status events.Status, source events.Source, task *kling.Task,
) (news, error) {
	token := rec.token()
	for {
		known, err := l.shelf().last(ctx, l.subjects.EventsOf(token))
		var last uint64
		switch {
		case errors.Is(err, bus.ErrNoMessage) && status != events.StatusSubmitted:
			// Kling was faster than the announcement, which would now be refused as old news.
			first := &kling.Task{ID: task.ID, ExternalID: task.ExternalID, CreatedAt: task.CreatedAt}
			if _, err := l.publishProgress(ctx, rec, events.StatusSubmitted, source, first, 0); err != nil {
				return newsNone, err
			}
			continue
		case errors.Is(err, bus.ErrNoMessage):
		case err != nil:
			return newsNone, err
		default:
			p, _ := l.subjects.Parse(known.Subject)
			if p.Type != "progress" {
				return newsRepeated, nil
			}
			if progressRank(p.Status) >= progressRank(status) {
				return newsNone, nil
			}
			last = known.Seq
		}
		stored, err := l.publishProgress(ctx, rec, status, source, task, last)
		if stored || err != nil {
			return newsProgress, err
		}
		// Something else about this request was stored in between, or an earlier try of this publish. Look again.
	}
}

// announce publishes submitted as the first event of a request, unless something is already known: its guard alone
// decides, without the read that progress needs.
func (l *ledger) announce(ctx context.Context, rec *record, task *kling.Task) error {
	l.metrics.begun(ctx, rec.Kind)
	_, err := l.publishProgress(ctx, rec, events.StatusSubmitted, events.SourceBridge, task, 0)
	return err
}

func (l *ledger) publishProgress(
	ctx context.Context, rec *record, status events.Status, source events.Source, task *kling.Task, last uint64,
) (stored bool, err error) {
	token := rec.token()
	ev := l.event(rec, ending{status: status, source: source, task: task}, l.now())
	msgID := token + "." + string(status)
	return l.publishEvent(ctx, rec, ev, l.subjects.Progress(rec.Kind, status, token), msgID, func(msg *nats.Msg) {
		bus.GuardSequence(msg, l.subjects.EventsOf(token), last)
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

// publishEvent is the only way a public event is published, except for archived ones.
func (l *ledger) publishEvent(
	ctx context.Context, rec *record, ev *events.Event, subject, msgID string, guard func(*nats.Msg),
) (stored bool, err error) {
	ctx, span := l.sendSpan(ctx, subject, rec, msgID)
	defer func() { telemetry.EndSpan(span, err) }()
	msg, err := l.eventMsg(ctx, ev, subject, msgID)
	if err != nil {
		return false, err
	}
	guard(msg)
	_, stored, err = l.put(ctx, msg)
	return stored, err
}

// archived publishes what became of the files of a result, once for each request, whatever it is.
func (l *ledger) archived(ctx context.Context, rec *record, status events.Status, body *events.Archived) (err error) {
	token := rec.token()
	subject, msgID := l.subjects.Archived(rec.Kind, status, token), token+".archived"
	ctx, span := l.sendSpan(ctx, subject, rec, msgID)
	defer func() { telemetry.EndSpan(span, err) }()
	ev := l.event(rec, ending{status: status, source: events.SourceBridge}, l.now())
	msg := l.headMsg(ctx, ev, subject, msgID)
	events.SetArchivedCloudEvent(msg.Header, l.subjects, ev, msgID)
	bus.GuardSequence(msg, l.subjects.ArchivedOf(token), 0)
	if msg.Data, err = body.Encode(); err != nil {
		return err
	}
	_, _, err = l.put(ctx, msg)
	return err
}

// eventMsg builds the message of an event, leaving Kling's object out where it would not fit.
func (l *ledger) eventMsg(ctx context.Context, ev *events.Event, subject, msgID string) (msg *nats.Msg, err error) {
	msg = l.headMsg(ctx, ev, subject, msgID)
	if msg.Data, err = ev.Encode(); err != nil {
		return nil, err
	}
	if l.fits(msg) {
		return msg, nil
	}
	ev.Kling, ev.KlingOmitted = nil, true
	msg.Data, err = ev.Encode()
	return msg, err
}

// headMsg is the message of an event with its headers and no body yet.
func (l *ledger) headMsg(ctx context.Context, ev *events.Event, subject, msgID string) *nats.Msg {
	h := make(nats.Header, eventHeaders+len(ev.Metadata))
	h.Set(jetstream.MsgIDHeader, msgID)
	h.Set("Content-Type", "application/json")
	h.Set(events.HeaderRequestID, request.HeaderSafe(ev.RequestID))
	h.Set(events.HeaderStatus, string(ev.Status))
	h.Set(events.HeaderSource, string(ev.Source))
	if ev.TaskID != "" {
		h.Set(events.HeaderTaskID, request.ClipTo(request.HeaderSafe(ev.TaskID), maxTaskID))
	}
	if ev.ExternalTaskID != "" {
		h.Set(events.HeaderExternalTaskID, request.ClipTo(request.HeaderSafe(ev.ExternalTaskID), maxTaskID))
	}
	for name, value := range ev.Metadata {
		h.Set(events.HeaderMetaPrefix+name, request.HeaderSafe(value))
	}
	events.SetCloudEvent(h, l.subjects, ev, msgID)
	l.telemetry.Inject(ctx, h)
	return &nats.Msg{Subject: l.subjects.Put(subject), Header: h}
}

// eventHeaders is about how many headers an event has, with its guard: a map that grows is made again.
const eventHeaders = 20

// headerRoom is kept for the guard and timer headers that are set after the event was measured.
const headerRoom = 1024

func (l *ledger) fits(msg *nats.Msg) bool {
	return int64(msg.Size())+headerRoom <= l.bus.MaxPayload()
}
