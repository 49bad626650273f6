package store

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
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
		_, _, err := l.Intend(ctx, &creating, time.Now().Add(time.Hour))
		if err = errors.Join(err, l.DueNow(ctx, &creating)); err != nil {
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

// TestDueOfWhatHasGoneOn has a task polled of which a callback has said too little, by a record that was read before its create
// call was answered or made once more. The poll is to go on from what is stored by then, and must not put the old record back.
func TestDueOfWhatHasGoneOn(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	for _, retries := range []int{0, 1} {
		created := newTestRecord(fmt.Sprintf("created-%d", retries))
		created.Retries, created.Version = retries, versionOf(kling.DefaultAccount, retries)
		read := *created
		read.State, read.TaskID, read.Attempt = StateCreating, "", 1
		seq, first, err := l.Intend(ctx, &read, later)
		if !first || err != nil {
			t.Fatal(first, err)
		}
		next := read.Resent(Send{Claim: "again", At: time.Now()}, 0, time.Now())
		if _, held, err := l.Claim(ctx, next, later, seq); !held || err != nil {
			t.Fatal(held, err)
		}
		due := func(what string) (e Entry) {
			t.Helper()
			if due, err := l.DueUnlessEnded(ctx, &read); !due || err != nil {
				t.Fatal(what, due, err)
			}
			if e, err = l.Load(ctx, read.Token()); !e.Due || err != nil {
				t.Fatalf("%s: %+v, %v", what, e, err)
			}
			return e
		}
		if e := due("sent again"); e.Rec.Claim != "again" || e.Rec.Attempt != 2 {
			t.Errorf("sent again: the poller has %+v", e.Rec)
		}
		if stored, err := l.Arm(ctx, created, later); !stored || err != nil {
			t.Fatal(stored, err)
		}
		e := due("created")
		if e.Rec.TaskID != created.TaskID {
			t.Errorf("created: the poller has %+v", e.Rec)
		}
		if stored, err := l.Rearm(ctx, e.Rec, later, e.Seq); !stored || err != nil {
			t.Fatal(stored, err)
		}
		if e, err := l.Load(ctx, read.Token()); err != nil || e.Due || e.Rec.TaskID != created.TaskID {
			t.Errorf("after a poll: %+v, %v", e.Rec, err)
		}
	}
}

// TestDueOfNothing has a task polled whose record and end an answer does not have: it is no answer.
func TestDueOfNothing(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	rec := newTestRecord("gone")
	rec.State, rec.TaskID = StateCreating, ""
	if due, err := l.DueUnlessEnded(t.Context(), rec); due || !errors.Is(err, bus.ErrUnavailable) {
		t.Errorf("%v, %v", due, err)
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
	_, _, err := l.Intend(ctx, rec, later)
	if err = errors.Join(err, l.DueNow(ctx, rec)); err != nil {
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
