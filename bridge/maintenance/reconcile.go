package maintenance

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
)

// Reconciler is for what should not happen: state that JetStream has lost, by a power failure or a restored backup. Now
// and then one replica looks for tasks of ours at Kling that nothing is known of, and for records whose timer is long
// past, and hands both to the poller. The former is in lost.go.
type Reconciler struct {
	Bus      *bus.Bus
	Accounts kling.Accounts
	Store    *store.Store
	Waiting  *request.Stream
	Namer    request.Namer
	Subjects subjects.Subjects
	Kinds    kling.Kinds
	Log      *slog.Logger

	Interval    time.Duration // between sweeps of all replicas together
	Settled     time.Duration // what is younger is still in the hands of the flow
	Lookback    time.Duration // what has changed longer ago is not asked about: its completion may have aged out
	TaskTimeout time.Duration
}

const (
	settingReconciled = "reconciled"
	// maxRecords bounds the records that one sweep reads; the next one goes on from there.
	maxRecords = 10_000
)

// Run sweeps until ctx ends.
func (rc *Reconciler) Run(ctx context.Context) {
	cursor := ""
	for clock.Sleep(ctx, rc.Interval/2+rand.N(rc.Interval/2+1)) {
		mine, err := rc.takeTurn(ctx)
		if err == nil && mine {
			var recordsErr error
			cursor, recordsErr = rc.sweepRecords(ctx, cursor) // first: it does not depend on Kling
			err = errors.Join(recordsErr, rc.sweepDue(ctx), rc.sweepKling(ctx))
		}
		if err != nil && ctx.Err() == nil {
			rc.Log.WarnContext(ctx, "reconciliation", slog.Any("err", err))
		}
	}
}

// takeTurn reports whether this replica is the one to sweep now: the one that notes it first. The stream keeps the first
// note, so that the last turn's is deleted before; what is no note is deleted, too.
func (rc *Reconciler) takeTurn(ctx context.Context) (bool, error) {
	subject := rc.Subjects.Setting(settingReconciled)
	last, err := rc.Bus.Last(ctx, rc.Subjects.SettingsStream(), subject)
	switch {
	case errors.Is(err, bus.ErrNoMessage):
	case err != nil:
		return false, err
	case isTurn(last.Data) && rc.Bus.Now().Sub(last.Time) < rc.Interval:
		return false, nil
	default:
		if err := rc.Bus.Delete(ctx, rc.Subjects.SettingsStream(), last.Seq); err != nil {
			return false, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, store.PublishTimeout)
	defer cancel()
	msg := nats.NewMsg(subject)
	msg.Data = strconv.AppendInt(nil, rc.Bus.Now().UnixMilli(), 10)
	bus.GuardSequence(msg, subject, 0)
	ack, err := rc.Bus.Publish(ctx, msg)
	return ack.Stored, err
}

// isTurn tells a note of takeTurn from what somebody else has stored there.
func isTurn(data []byte) bool {
	_, err := strconv.ParseInt(string(data), 10, 64)
	return err == nil
}

// sweepRecords looks at pending records after cursor, in the order of their subjects, and returns where to go on.
func (rc *Reconciler) sweepRecords(ctx context.Context, cursor string) (next string, err error) {
	var subjects []string
	err = rc.Bus.Subjects(ctx, rc.Subjects.EventsStream(), rc.Subjects.AllPending(), func(subject string) {
		if subject > cursor {
			subjects = append(subjects, subject)
		}
	})
	if err != nil {
		return cursor, err
	}
	slices.Sort(subjects)
	for i, subject := range subjects {
		if i == maxRecords {
			return subjects[i-1], nil
		}
		if err := rc.rearmOverdue(ctx, subject); err != nil {
			return cursor, err
		}
	}
	return "", nil
}

// rearmOverdue gives a record whose timer should have fired long ago a new one.
func (rc *Reconciler) rearmOverdue(ctx context.Context, subject string) error {
	m, err := rc.Store.Guarded().Last(ctx, subject)
	if errors.Is(err, bus.ErrNoMessage) {
		return nil
	}
	if err != nil {
		return err
	}
	rec, err := store.Decode(m.Data)
	if err != nil {
		rc.Log.ErrorContext(ctx, "not a record", slog.String("subject", subject), slog.Any("err", err))
		return nil
	}
	if rec.Newer() {
		return nil
	}
	due := rec.NextPollAt
	if due.IsZero() {
		due = clock.Earlier(rec.ClaimedAt.Add(store.CreatingTimer), rec.Deadline)
	}
	if rc.Bus.Now().Sub(due) < rc.Settled {
		return nil
	}
	rc.Log.WarnContext(ctx, "a timer did not fire", slog.String("request_id", rec.RequestID), slog.String("kind", rec.Kind),
		slog.String("task_id", rec.TaskID), slog.Time("due", due))
	_, _, err = rc.Store.Claim(ctx, rec, rc.Bus.Now(), m.Seq)
	if errors.Is(err, store.ErrUnknownKind) { // it may be known again to the next version: others are not to wait for it
		rc.Log.ErrorContext(ctx, "record", slog.String("request_id", rec.RequestID), slog.Any("err", err))
		return nil
	}
	return err
}
