package maintenance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// sweepDue looks at fired records that have lain there for a while. One that the consumer of polls will not deliver again
// (its message was acked by somebody else, or the consumer was made anew beyond it) is put back, and one whose deadline is
// long past is ended, whatever the consumer does: its request would have no end otherwise.
func (rc *Reconciler) sweepDue(ctx context.Context) error {
	var subjects []string
	err := rc.Bus.Subjects(ctx, rc.Subjects.EventsStream(), rc.Subjects.AllDue(), func(subject string) {
		subjects = append(subjects, subject)
	})
	if err != nil || len(subjects) == 0 {
		return err
	}
	c, err := rc.Bus.JetStream().Consumer(ctx, rc.Subjects.EventsStream(), store.PollConsumer)
	if err != nil {
		return fmt.Errorf("consumer %s: %w", store.PollConsumer, err)
	}
	polls := c.CachedInfo()
	var failed []error
	for _, subject := range subjects {
		if err := rc.rescue(ctx, subject, polls); err != nil {
			failed = append(failed, fmt.Errorf("fired record on %s: %w", subject, err))
		}
	}
	return errors.Join(failed...)
}

// rescue sees to one fired record.
func (rc *Reconciler) rescue(ctx context.Context, subject string, polls *jetstream.ConsumerInfo) error {
	m, err := rc.Store.Guarded().Last(ctx, subject)
	if errors.Is(err, bus.ErrNoMessage) {
		return nil
	}
	if err != nil {
		return err
	}
	rec, err := store.Decode(m.Data)
	if err != nil {
		return err
	}
	now := rc.Bus.Now()
	overdue := now.Sub(rec.Deadline) > rc.Settled
	if rec.Newer() || now.Sub(m.Time) < rc.Settled || !overdue && !passed(polls, m.Seq) {
		return nil
	}
	rc.Log.WarnContext(ctx, "a fired timer was not delivered", slog.String("request_id", rec.RequestID),
		slog.String("kind", rec.Kind), slog.String("task_id", rec.TaskID), slog.Uint64("sequence", m.Seq), slog.Bool("expired", overdue))
	if overdue {
		_, err = rc.Store.Complete(ctx, rec, store.Expired())
	} else {
		_, err = rc.Store.PutDue(ctx, rec, rc.Subjects.CompletionOf(rec.Token()))
	}
	if err != nil {
		return err
	}
	return rc.Bus.Delete(ctx, rc.Subjects.EventsStream(), m.Seq)
}

// passed reports whether a consumer is done with a message, although it is still there.
func passed(c *jetstream.ConsumerInfo, seq uint64) bool {
	return seq <= c.AckFloor.Stream || c.NumPending == 0 && c.NumAckPending == 0
}
