package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// Store reads and writes what is known of requests. It is the only one that does.
type Store struct {
	Bus       *bus.Bus
	Subjects  subjects.Subjects
	Kinds     kling.Kinds
	Retention time.Duration
	Telemetry *telemetry.Tracer
	Metrics   *Metrics
	Dead      *deadLetters
	Log       *slog.Logger
	Stored    func(rec *Record, status events.Status) // is told of each event that was stored; nil: nobody is
}

// PublishTimeout bounds one certain write outside HTTP handlers: longer than a leader failover, which takes up to 8 s.
const PublishTimeout = 20 * time.Second

// Now is the time by the NATS server's clock, by which timers fire and deadlines count.
func (s *Store) Now() time.Time { return s.Bus.Now() }

func (s *Store) pool(kind string) (kling.Pool, error) {
	k, ok := s.Kinds.Lookup(kind)
	if !ok {
		return "", fmt.Errorf("%w %q", ErrUnknownKind, kind)
	}
	return k.Pool, nil
}

// Intend stores the record of a request before its task is created. It stores nothing and returns false if anything at
// all is known of the request: this is what keeps a repeated request from becoming a second task.
func (s *Store) Intend(ctx context.Context, rec *Record, fireAt time.Time) (seq uint64, first bool, err error) {
	d, err := s.pendingDraft(rec, fireAt)
	if err != nil {
		return 0, false, err
	}
	defer d.Release()
	if err := s.Bus.RoomToBegin(ctx); err != nil {
		return 0, false, err
	}
	d.GuardSequence(s.Subjects.AnythingOf(rec.Token()), 0)
	return s.put(ctx, &d.Msg)
}

// Claim replaces the record if it is still the one with that sequence. It must hold before every further send: a
// replica that was taken for dead finds its claim gone.
func (s *Store) Claim(ctx context.Context, rec *Record, fireAt time.Time, seq uint64) (next uint64, held bool, err error) {
	d, err := s.pendingDraft(rec, fireAt)
	if err != nil {
		return 0, false, err
	}
	defer d.Release()
	pool, err := s.pool(rec.Kind)
	if err != nil {
		return 0, false, err
	}
	if err := s.Bus.RoomToBegin(ctx); err != nil {
		return 0, false, err
	}
	d.GuardSequence(s.Subjects.Pending(rec.Kind, string(pool), rec.Token()), seq)
	return s.put(ctx, &d.Msg)
}

// Arm replaces the record unless the request has been completed.
func (s *Store) Arm(ctx context.Context, rec *Record, fireAt time.Time) (stored bool, err error) {
	d, err := s.armDraft(rec, fireAt)
	if err != nil {
		return false, err
	}
	defer d.Release()
	_, stored, err = s.put(ctx, &d.Msg)
	return stored, err
}

// StartArm is Arm beside whatever else the caller publishes before it calls armed, which has to be called once.
func (s *Store) StartArm(ctx context.Context, rec *Record, fireAt time.Time) (armed func(context.Context) (stored bool, err error)) {
	whole := func(ctx context.Context) (bool, error) { return s.Arm(ctx, rec, fireAt) }
	d, err := s.armDraft(rec, fireAt)
	if err != nil {
		return whole
	}
	defer d.Release()
	stored := s.Bus.Start(ctx, &d.Msg)
	return func(ctx context.Context) (bool, error) {
		if stored(ctx) {
			return true, nil
		}
		return whole(ctx)
	}
}

// armDraft is the record unless the request has been completed.
func (s *Store) armDraft(rec *Record, fireAt time.Time) (*bus.Draft, error) {
	d, err := s.pendingDraft(rec, fireAt)
	if err == nil {
		d.GuardSequence(s.Subjects.CompletionOf(rec.Token()), 0)
	}
	return d, err
}

// Rearm puts the record back whose timer has fired, unless there is a newer record of the request or its end: fired is the
// sequence of the one that is to be put back. Its request may be adopted at this moment, and what that stores is newer
// than the copy in the hands of whoever saw the timer fire. It has the errors of Replace.
func (s *Store) Rearm(ctx context.Context, rec *Record, fireAt time.Time, fired uint64) (stored bool, err error) {
	_, stored, err = s.Replace(ctx, rec, fireAt, fired)
	return stored, err
}

// Replace stores a record in place of the one with that sequence, whether its timer has fired or not, unless there is a newer
// one of the request or its end. Where what is read is older than that record, it returns an error.
func (s *Store) Replace(ctx context.Context, rec *Record, fireAt time.Time, of uint64) (next uint64, stored bool, err error) {
	token := rec.Token()
	for ctx.Err() == nil {
		newest, err := s.Guarded().Last(ctx, s.Subjects.AnythingOf(token)) // first: the guard finds what comes after it
		if errors.Is(err, bus.ErrNoMessage) {
			return 0, false, Behind(token)
		}
		if err != nil {
			return 0, false, err
		}
		if still, err := s.isNewest(ctx, token, of); !still || err != nil {
			return 0, false, err
		}
		if _, err := s.Guarded().Last(ctx, s.Subjects.CompletionOf(token)); !errors.Is(err, bus.ErrNoMessage) {
			return 0, false, err
		}
		if next, stored, err = s.replaceNewest(ctx, rec, fireAt, newest.Seq); stored || err != nil {
			return next, stored, err
		}
	}
	return 0, false, ctx.Err()
}

// replaceNewest stores a record if the newest message about its request still is the one with that sequence.
func (s *Store) replaceNewest(ctx context.Context, rec *Record, fireAt time.Time, newest uint64) (seq uint64, stored bool, err error) {
	d, err := s.pendingDraft(rec, fireAt)
	if err != nil {
		return 0, false, err
	}
	defer d.Release()
	d.GuardSequence(s.Subjects.AnythingOf(rec.Token()), newest)
	return s.put(ctx, &d.Msg)
}

// ignoreGone takes it for no error that there is no message any more.
func ignoreGone(err error) error {
	if errors.Is(err, bus.ErrNoMessage) {
		return nil
	}
	return err
}

// DueNow hands the record to the poller at once, beside the timer, unless Kling can have nothing to say of it that
// matters: the request has ended, and not by expiry or cancellation, or its late result is known.
func (s *Store) DueNow(ctx context.Context, rec *Record) error {
	_, err := s.DueUnlessEnded(ctx, rec)
	return err
}

// DueUnlessEnded is dueNow for those who want to know whether Kling is asked.
func (s *Store) DueUnlessEnded(ctx context.Context, rec *Record) (due bool, err error) {
	due, err = s.PutDue(ctx, rec, s.Subjects.CompletionOf(rec.Token()))
	if due || err != nil {
		return due, err
	}
	_, ended, err := s.Completion(ctx, rec.Token())
	if err != nil || !MayBeLate(ended.Status) {
		return false, ignoreGone(err) // of a task that was made again
	}
	return s.PutDue(ctx, rec, s.Subjects.LateOf(rec.Token()))
}

// PutDue stores the record as one whose timer has fired, unless there is a message on the guarded subjects.
//
// What is stored counts as the newest record of its request. Somebody may have gone on with a record since it was read: to the id
// of its task, a further send or a further try. Where that may be, the newest record is stored instead, or none.
func (s *Store) PutDue(ctx context.Context, rec *Record, guard string) (stored bool, err error) {
	if (rec.Retries > 0 || rec.State == StateCreating) && guard == s.Subjects.CompletionOf(rec.Token()) {
		return s.putNewest(ctx, rec)
	}
	msg, err := s.dueMessage(rec)
	if err != nil {
		return false, err
	}
	bus.GuardSequence(msg, guard, 0)
	_, stored, err = s.put(ctx, msg)
	return stored, err
}

// dueMessage is the record as one whose timer has fired.
func (s *Store) dueMessage(rec *Record) (*nats.Msg, error) {
	data, err := rec.encode()
	if err != nil {
		return nil, err
	}
	pool, err := s.pool(rec.Kind)
	if err != nil {
		return nil, err
	}
	msg := nats.NewMsg(s.Subjects.Put(s.Subjects.Due(rec.Kind, string(pool), rec.Token())))
	msg.Data = data
	return msg, nil
}

// MayBeLate tells the ends after which a task's own end is still news.
func MayBeLate(s events.Status) bool { return s == events.StatusExpired || s == events.StatusCancelled }

// Withdraw forgets a record whose create call certainly made no task: the request waits as if it had never been tried.
func (s *Store) Withdraw(ctx context.Context, seq uint64) error {
	ctx, cancel := context.WithTimeout(ctx, PublishTimeout)
	defer cancel()
	return s.Bus.Delete(ctx, s.Subjects.EventsStream(), seq)
}

// pendingDraft is the record as a timer. It never waits longer than half the retention: firing and arming anew is what
// keeps a record from ageing out of the stream. A record of a newer version is never written as one: its timer means what
// that version says.
func (s *Store) pendingDraft(rec *Record, fireAt time.Time) (*bus.Draft, error) {
	if rec.Newer() {
		return nil, fmt.Errorf("request %s: %w", rec.RequestID, errNewer)
	}
	pool, err := s.pool(rec.Kind)
	if err != nil {
		return nil, err
	}
	if latest := s.Now().Add(s.Retention / 2); fireAt.After(latest) {
		fireAt = latest
	}
	d := bus.NewDraft(s.Subjects.Put(s.Subjects.Pending(rec.Kind, string(pool), rec.Token())))
	if d.Data, err = rec.appendTo(d.Data); err != nil {
		d.Release()
		return nil, err
	}
	d.ScheduleAt(fireAt, s.Subjects.Put(s.Subjects.Due(rec.Kind, string(pool), rec.Token())))
	return d, nil
}

// put publishes within the caller's deadline, or publishTimeout where there is none.
func (s *Store) put(ctx context.Context, msg *nats.Msg) (seq uint64, stored bool, err error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	ack, err := s.Guarded().publish(ctx, msg)
	return ack.Seq, ack.Stored, err
}

// bounded returns ctx with a deadline: its own, or publishTimeout from now.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, PublishTimeout)
}

const (
	// PollConsumer is the durable consumer of fired records.
	PollConsumer = "polls"
)
