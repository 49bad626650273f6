package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// A task that Kling failed, for no fault of the request, is made again as often as its request allows. All of that hangs on
// the record: one write makes that of the failed try one that waits for the next, with a timer. Whoever sees the timer fire
// tells of the failure and puts the request back into the stream, where it waits for its turn as any other. Whoever gets it
// from there takes the record over by compare-and-set, and creates.
//
// So every record of such a request is only written in place of the newest one: what was learned of an earlier try must not
// come back.

// failed is what is to be told of the last task that Kling failed, beside its [events.Try].
type failed struct {
	Source      events.Source   `json:"source"`
	SubmittedAt time.Time       `json:"submitted_at,omitzero"`
	Kling       json.RawMessage `json:"kling,omitempty"`
}

const (
	// firstRetryWait is how long the second try waits at least; each further one waits twice as long. Up to as much again is
	// added.
	firstRetryWait = time.Second
	// maxKept is what a record keeps of Kling's task object, in bytes. A failed one has about 500.
	maxKept = 16 << 10
	// maxTryMessage is what a try repeats of Kling's explanation, in bytes.
	maxTryMessage = 512
)

// retryWait is how long a request waits after its n-th failed task.
func retryWait(n int) time.Duration {
	wait := firstRetryWait << (n - 1)
	return wait + mathrand.N(wait)
}

// Try is the number of the try that the record is of, from 1.
func (r *Record) Try() int { return len(r.Tries) + 1 }

// EarlierTry returns the try of a task that Kling failed and that was made again; ok is false for any other task.
func (r *Record) EarlierTry(task kling.Task) (try events.Try, ok bool) {
	i := indexOf(r.Tries, task.ID, task.ExternalID)
	if i < 0 {
		return events.Try{}, false
	}
	return r.Tries[i], true
}

// among reports whether one of the tries is known by one of these ids; empty ones are not known.
func among(tries []events.Try, taskID, externalID string) bool {
	return indexOf(tries, taskID, externalID) >= 0
}

func indexOf(tries []events.Try, taskID, externalID string) int {
	return slices.IndexFunc(tries, func(t events.Try) bool {
		return taskID != "" && taskID == t.TaskID || externalID != "" && externalID == t.ExternalTaskID
	})
}

// sumUnits adds what the earlier tries have cost to the units of the last one.
func (r *Record) sumUnits(last string) string {
	last = cmp.Or(last, r.Units)
	if len(r.Tries) == 0 {
		return last
	}
	var sum, amount big.Rat
	places, found := 0, false
	for _, units := range append(unitsOf(r.Tries), last) {
		if _, ok := amount.SetString(units); !ok {
			continue
		}
		sum.Add(&sum, &amount)
		_, fraction, _ := strings.Cut(units, ".")
		places, found = max(places, len(fraction)), true
	}
	if !found {
		return last
	}
	return sum.FloatString(places) // exact: none has more places
}

func unitsOf(tries []events.Try) (all []string) {
	for _, t := range tries {
		all = append(all, t.Units)
	}
	return all
}

// observeTry is publishNews for requests whose tasks may be made again: only what is said of the newest try counts.
func (s *Store) observeTry(ctx context.Context, rec *Record, task kling.Task, source events.Source) (Effect, error) {
	for ctx.Err() == nil {
		newest, err := s.Load(ctx, rec.Token())
		if errors.Is(err, bus.ErrNoMessage) { // it has ended
			return s.publishNews(ctx, rec, task, source)
		}
		if err != nil {
			return EffectNone, err
		}
		if newest.Rec.stands().before(rec.stands()) {
			return EffectNone, Behind(rec.Token())
		}
		if newest.Rec.Try() != rec.Try() || newest.Rec.State == StateRetrying {
			s.Log.InfoContext(ctx, "news of a task that was made again", slog.String("request_id", rec.RequestID),
				slog.String("task_id", task.ID), slog.String("status", string(task.Status)))
			return EffectRepeated, nil
		}
		next, at := s.nextTry(newest.Rec, task, source)
		if next == nil {
			return s.publishNews(ctx, rec, task, source)
		}
		stored, err := s.Rearm(ctx, next, at, newest.Seq)
		if err != nil {
			return EffectNone, err
		}
		if stored {
			s.Metrics.retries.Add(kindClass{rec.Kind, events.ErrorKling}, 1)
			return EffectRetry, s.tellRetry(ctx, next)
		}
		// Something else about this request was stored in between, or an earlier try of this write. Look again.
		if _, _, err := s.Completion(ctx, rec.Token()); err == nil {
			return s.publishNews(ctx, rec, task, source)
		}
	}
	return EffectNone, ctx.Err()
}

// nextTry is the record that follows when Kling says that of its task, and when it is due; nil: there is no further try.
func (s *Store) nextTry(rec *Record, task kling.Task, source events.Source) (next *Record, at time.Time) {
	now := s.Now()
	at = now.Add(retryWait(rec.Try()))
	if task.Status != kling.StatusFailed || rec.Try() > rec.Retries || !at.Before(rec.Deadline) || failure(task).Class != events.ErrorKling {
		return nil, at
	}
	return rec.Failed(task, source, now, at, rand.Text()), at
}

// tellRetry publishes that Kling has failed the last task of a record, once.
func (s *Store) tellRetry(ctx context.Context, rec *Record) error {
	if rec.Failure == nil {
		return nil
	}
	told := *rec
	last := told.undo()
	told.SubmittedAt = rec.Failure.SubmittedAt
	ev := s.event(&told, End{status: events.StatusRetrying, source: rec.Failure.Source, message: last.Message}, nil, s.Now())
	ev.Units, ev.Kling = last.Units, rec.Failure.Kling
	_, err := s.publishNext(ctx, &told, ev)
	return err
}

// undo takes the last failed task back, as the one that the record is of.
func (r *Record) undo() (last events.Try) {
	n := len(r.Tries) - 1
	last, r.Tries = r.Tries[n], r.Tries[:n]
	r.TaskID, r.ExternalTaskID, r.Account = last.TaskID, last.ExternalTaskID, last.Account
	return last
}

// putNewest stores the newest record of a try as one whose timer has fired, if there is none of another try, and no end. That
// there is neither a record nor an end is no answer.
func (s *Store) putNewest(ctx context.Context, rec *Record) (stored bool, err error) {
	token := rec.Token()
	for ctx.Err() == nil {
		newest, err := s.Guarded().Last(ctx, s.Subjects.AnythingOf(token)) // first: the guard finds what comes after it
		if err != nil {
			return false, behindIfGone(err, token)
		}
		if _, _, err := s.Completion(ctx, token); !errors.Is(err, bus.ErrNoMessage) {
			return false, err
		}
		known, err := s.Load(ctx, token)
		if err != nil {
			return false, behindIfGone(err, token)
		}
		if known.Rec.stands().before(rec.stands()) {
			return false, Behind(token)
		}
		if known.Rec.stands() != rec.stands() {
			return false, nil
		}
		msg, err := s.dueMessage(known.Rec)
		if err != nil {
			return false, err
		}
		bus.GuardSequence(msg, s.Subjects.AnythingOf(token), newest.Seq)
		if _, stored, err = s.put(ctx, msg); stored || err != nil {
			return stored, err
		}
	}
	return false, ctx.Err()
}
