package store

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
)

// TestRearm puts back the record of a request that is being adopted at the same moment.
func TestRearm(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	ctx := t.Context()
	var racing sync.WaitGroup
	for i := range 100 {
		rec := newTestRecord(fmt.Sprintf("adopted-%d", i))
		creating := *rec
		creating.State, creating.TaskID = StateCreating, ""
		if err := l.DueNow(ctx, &creating); err != nil {
			t.Fatal(err)
		}
		fired, err := l.Load(ctx, rec.Token())
		if err != nil {
			t.Fatal(err)
		}
		racing.Go(func() {
			if _, err := l.Rearm(ctx, &creating, time.Now().Add(time.Hour), fired.Seq); err != nil {
				t.Error(err)
			}
		})
		racing.Go(func() {
			if _, err := l.Arm(ctx, rec, time.Now().Add(time.Hour)); err != nil {
				t.Error(err)
			}
		})
		racing.Wait()
		if got, err := l.Load(ctx, rec.Token()); err != nil || got.Rec.State != StateSubmitted {
			t.Fatalf("%s: %+v, %v", rec.RequestID, got.Rec, err)
		}
	}
}

// TestRearmOfWhatIsKnown has the timer of a creating record fire.
func TestRearmOfWhatIsKnown(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	rec := newTestRecord("fired")
	rec.State, rec.TaskID = StateCreating, ""
	rearm := func(what string, seq uint64, want bool) {
		t.Helper()
		if got, err := l.Rearm(ctx, rec, later, seq); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", what, got, err, want)
		}
	}
	if err := l.DueNow(ctx, rec); err != nil {
		t.Fatal(err)
	}
	fired, err := l.Load(ctx, rec.Token())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Observe(ctx, rec, kling.Task{ID: "1", Status: kling.StatusProcessing}, "callback"); err != nil {
		t.Fatal(err)
	}
	rearm("the newest record, older than a progress event", fired.Seq, true)
	rearm("an older record", fired.Seq, false)
	pending, err := l.Load(ctx, rec.Token())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Complete(ctx, rec, Expired()); err != nil {
		t.Fatal(err)
	}
	rearm("a record that was removed", pending.Seq, false)
	rearm("a record that its end has outlived", fired.Seq, false)
}
