package store

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// newRetryLedger is newLedger with a stream of requests.
func newRetryLedger(t *testing.T) *Store {
	t.Helper()
	l := newLedger(t, bustest.Start(t).URL(), 1)
	config := request.StreamConfig(l.Subjects, l.Kinds, l.Bus.MaxPayload())
	config.Storage, config.Duplicates = jetstream.FileStorage, shortWindow
	if err := l.Bus.EnsureStream(t.Context(), config, ""); err != nil {
		t.Fatal(err)
	}
	return l
}

// retriable stores a request and the record of its task, which may be made again so often.
func (s *Store) retriable(t *testing.T, retries int) *Record {
	t.Helper()
	const id = "order"
	msg := nats.NewMsg(s.Subjects.Request("text2video", events.PriorityHigh))
	msg.Data = []byte(`{"prompt":"a boat"}`)
	msg.Header.Set(events.HeaderRequestID, id)
	msg.Header.Set(jetstream.MsgIDHeader, id)
	ack, err := s.Bus.Publish(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	rec := newTestRecord(id)
	rec.Owner, rec.Retries = ack.Seq, retries
	if _, err := s.Arm(t.Context(), rec, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	return rec
}

func failedTask(rec *Record) kling.Task {
	return kling.Task{
		ID: rec.TaskID, ExternalID: rec.ExternalTaskID, Status: kling.StatusFailed, Message: "generation failed", Units: "0.5",
		Raw: []byte(`{"task_id":"1"}`),
	}
}

// counts returns how many messages a filter of a stream matches.
func (s *Store) counts(t *testing.T, stream, filter string) (n int) {
	t.Helper()
	state, err := s.Bus.StateOf(t.Context(), stream, filter)
	if err != nil {
		t.Fatal(err)
	}
	for _, of := range state.Subjects {
		n += int(of)
	}
	return n
}

// fire returns the newest record of the request as one whose timer has fired.
func (s *Store) fire(t *testing.T) Entry {
	t.Helper()
	const token = "order"
	e, err := s.Load(t.Context(), token)
	if err == nil {
		_, err = s.PutDue(t.Context(), e.Rec, s.Subjects.CompletionOf(token))
	}
	if err == nil {
		e, err = s.Load(t.Context(), token)
	}
	if err != nil || !e.Due {
		t.Fatalf("%+v, %v", e, err)
	}
	return e
}

// storeNext stores what follows when Kling has failed the task of a record, which nobody has told yet.
func (s *Store) storeNext(t *testing.T, rec *Record) (next *Record) {
	t.Helper()
	e, err := s.Load(t.Context(), rec.Token())
	if err != nil {
		t.Fatal(err)
	}
	next, at := s.nextTry(e.Rec, failedTask(rec), events.SourcePoll)
	if stored, err := s.Rearm(t.Context(), next, at, e.Seq); !stored || err != nil {
		t.Fatal(stored, err)
	}
	return next
}

// TestCrashesBetweenTries stops at every point between the end of a task and the next one: whoever goes on makes neither a
// further try nor a further event, and loses none.
func TestCrashesBetweenTries(t *testing.T) {
	l := newRetryLedger(t)
	ctx := t.Context()
	rec := l.retriable(t, 1)
	retrying := l.Subjects.Progress("*", events.StatusRetrying, "order")
	toldAndQueued := func(after string, told, queued int) {
		t.Helper()
		if got := l.counts(t, l.Subjects.EventsStream(), retrying); got != told {
			t.Errorf("after %s: %d retrying events, want %d", after, got, told)
		}
		if got := l.counts(t, l.Subjects.RequestsStream(), l.Subjects.AllRequests()) - 1; got != queued {
			t.Errorf("after %s: %d requests for the next try, want %d", after, got, queued)
		}
	}
	next := l.storeNext(t, rec)
	toldAndQueued("the record was written", 0, 0)
	for range 2 {
		if n, err := l.Observe(ctx, rec, failedTask(rec), events.SourceCallback); n != EffectRepeated || err != nil {
			t.Errorf("the failure once more: %v, %v", n, err)
		}
	}
	fired := l.fire(t)
	if err := l.tellRetry(ctx, fired.Rec); err != nil {
		t.Fatal(err)
	}
	toldAndQueued("the failure was told", 1, 0)
	seq, err := l.enqueue(ctx, fired.Rec)
	if err != nil {
		t.Fatal(err)
	}
	toldAndQueued("the request was put into the stream", 1, 1)
	for range 3 { // it fires again, as nobody has acked it
		if err := l.NextTry(ctx, fired.Rec, fired.Seq); err != nil {
			t.Fatal(err)
		}
	}
	toldAndQueued("the timer was set anew", 1, 1)
	waits := l.fire(t)
	if waits.Rec.Queued != seq || waits.Rec.State != StateRetrying {
		t.Errorf("%+v, want one that waits for message %d", waits.Rec, seq)
	}
	waitForWindow(t)
	if err := l.NextTry(ctx, waits.Rec, waits.Seq); err != nil {
		t.Fatal(err)
	}
	toldAndQueued("the next timer, long after", 1, 1)
	if err := l.Bus.Delete(ctx, l.Subjects.RequestsStream(), seq); err != nil {
		t.Fatal(err)
	}
	waits = l.fire(t)
	if err := l.NextTry(ctx, waits.Rec, waits.Seq); err != nil {
		t.Fatal(err)
	}
	toldAndQueued("the message was lost", 1, 1)
	m, err := l.Bus.Last(ctx, l.Subjects.RequestsStream(), l.Subjects.AllRequests())
	if err != nil || string(m.Data) != `{"prompt":"a boat"}` || m.Subject != l.Subjects.Request("text2video", events.PriorityHigh) ||
		m.Header.Get(request.HeaderFence) != next.Fence {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestOldNewsOfATry has what was known of the first try written after the second has begun.
func TestOldNewsOfATry(t *testing.T) {
	l := newRetryLedger(t)
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	rec := l.retriable(t, 2)
	first, err := l.Load(ctx, "order")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := l.Observe(ctx, rec, failedTask(rec), events.SourceCallback); n != EffectRetry || err != nil {
		t.Fatal(n, err)
	}
	e, err := l.Load(ctx, "order")
	if err != nil {
		t.Fatal(err)
	}
	second := e.Rec.Taken(9, kling.DefaultAccount, "second", Send{Claim: "c", At: time.Now()})
	if _, ok, err := l.Replace(ctx, second, later, e.Seq); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := l.Rearm(ctx, first.Rec, later, first.Seq); ok || err != nil {
		t.Errorf("the first record was put back: %v, %v", ok, err)
	}
	if due, err := l.DueUnlessEnded(ctx, rec); due || err != nil {
		t.Errorf("the first task is polled: %v, %v", due, err)
	}
	done := failedTask(rec)
	done.Status = kling.StatusSucceed
	for _, task := range []kling.Task{failedTask(rec), done, {ID: rec.TaskID, Status: kling.StatusProcessing}} {
		if n, err := l.Observe(ctx, rec, task, events.SourcePoll); n != EffectRepeated && n != EffectNone || err != nil {
			t.Errorf("%s of the first task: %v, %v", task.Status, n, err)
		}
	}
	if cancelled, err := l.CancelRetry(ctx, "order"); cancelled || err != nil {
		t.Errorf("cancelled while it is created: %v, %v", cancelled, err)
	}
	task := kling.Task{ID: "2", ExternalID: "second", Status: kling.StatusSucceed, Units: "6.25"}
	if n, err := l.Observe(ctx, second, task, events.SourceCallback); n != EffectEnd || err != nil {
		t.Fatal(n, err)
	}
	_, ev, err := l.Completion(ctx, "order")
	if err != nil || ev.Units != "6.75" || len(ev.Tries) != 1 || ev.TaskID != "2" {
		t.Errorf("%+v, %v", ev, err)
	}
	if held, err := l.holds(ctx, "order", rec.ExternalTaskID); !held || err != nil {
		t.Errorf("the first external id is free for others: %v, %v", held, err)
	}
}

// TestLostOriginal has nothing left of what was asked for: the failure stands.
func TestLostOriginal(t *testing.T) {
	l := newRetryLedger(t)
	ctx := t.Context()
	rec := l.retriable(t, 2)
	if err := l.Bus.Delete(ctx, l.Subjects.RequestsStream(), rec.Owner); err != nil {
		t.Fatal(err)
	}
	if n, err := l.Observe(ctx, rec, failedTask(rec), events.SourceCallback); n != EffectRetry || err != nil {
		t.Fatal(n, err)
	}
	fired := l.fire(t)
	if err := l.NextTry(ctx, fired.Rec, fired.Seq); err != nil {
		t.Fatal(err)
	}
	_, ev, err := l.Completion(ctx, "order")
	if err != nil || ev.Status != events.StatusFailed || ev.TaskID != rec.TaskID || len(ev.Tries) != 0 || ev.Units != "0.5" {
		t.Errorf("%+v, %v", ev, err)
	}
}

// TestTimerOfATryThatRuns fires for a record that another replica has gone on with: the request is not put into the stream again.
func TestTimerOfATryThatRuns(t *testing.T) {
	l := newRetryLedger(t)
	ctx := t.Context()
	rec := l.retriable(t, 1)
	l.storeNext(t, rec)
	fired := l.fire(t)
	taken := fired.Rec.Taken(77, fired.Rec.Account, "another-id", Send{Claim: "claim", At: l.Now()})
	if _, stored, err := l.Replace(ctx, taken, time.Now().Add(time.Hour), fired.Seq); !stored || err != nil {
		t.Fatal(stored, err)
	}
	before := l.counts(t, l.Subjects.RequestsStream(), l.Subjects.AllRequests())
	if err := l.NextTry(ctx, fired.Rec, fired.Seq); err != nil {
		t.Fatal(err)
	}
	if n := l.counts(t, l.Subjects.RequestsStream(), l.Subjects.AllRequests()); n != before {
		t.Errorf("%d requests in the stream, want %d", n, before)
	}
}
