package store

import (
	"errors"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// TestStaleReads answers with what is older than the record that the caller holds, as a server may that does not know yet that it
// no longer leads. Whoever took that for the work of another replica would drop the only record of the request.
func TestStaleReads(t *testing.T) {
	l := newRetryLedger(t)
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	first := l.retriable(t, 1)
	next := l.storeNext(t, first)
	fired := l.fire(t)
	second := fired.Rec.Taken(9, kling.DefaultAccount, "second", Send{Claim: "c", At: time.Now()})
	newer := fired.Seq + 1 // as the caller has it, and the answer does not
	nextTry := func() error { return l.NextTry(ctx, fired.Rec, newer) }
	rearm := func() error { _, err := l.Rearm(ctx, second, later, newer); return err }
	stale := func(when string, calls ...func() error) {
		t.Helper()
		for i, call := range calls {
			if err := call(); !errors.Is(err, errBehind) || !errors.Is(err, bus.ErrUnavailable) {
				t.Errorf("%s: call %d: %v, want an error that brings the message back", when, i, err)
			}
		}
	}
	stale("an older record", nextTry, rearm,
		func() error { _, err := l.Observe(ctx, second, failedTask(second), events.SourcePoll); return err },
		func() error { return l.DueNow(ctx, second) },
	)
	if n := l.counts(t, l.Subjects.RequestsStream(), l.Subjects.AllRequests()) - 1; n != 0 {
		t.Errorf("%d requests for the next try, want none", n)
	}
	if e, err := l.Load(ctx, "order"); err != nil || e.Seq != fired.Seq {
		t.Errorf("%+v, %v; want the record as it was", e, err)
	}
	for _, of := range []string{l.Subjects.Due(first.Kind, "*", "order"), l.Subjects.Pending(first.Kind, "*", "order")} {
		if m, err := l.Bus.Last(ctx, l.Subjects.EventsStream(), of); err == nil {
			if err := l.Bus.Delete(ctx, l.Subjects.EventsStream(), m.Seq); err != nil {
				t.Fatal(err)
			}
		}
	}
	stale("nothing at all", nextTry, rearm)
	if err := l.tellRetry(ctx, next); err != nil {
		t.Fatal(err)
	}
	stale("an event, and no record", nextTry, rearm)
	if _, err := l.Complete(ctx, next, Expired()); err != nil {
		t.Fatal(err)
	}
	for i, call := range []func() error{nextTry, rearm} {
		if err := call(); err != nil {
			t.Errorf("it has ended: call %d: %v", i, err)
		}
	}
}
