package bridge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// putRecord stores a record of a text2video request as some other version of the bridge would.
func (w *world) putRecord(id string, members map[string]any, fireAt time.Time) {
	w.t.Helper()
	rec := map[string]any{
		"v": 1, "request_id": id, "kind": "text2video", "slots": 1, "attempt": 1, "external_task_id": "ext-" + id,
		"requested_at": time.Now().Add(-time.Minute), "deadline": time.Now().Add(time.Hour),
	}
	for name, value := range members {
		rec[name] = value
	}
	s := subjects.Default()
	msg := nats.NewMsg(s.Put(s.Pending("text2video", "video", id)))
	msg.Data = body(rec)
	bus.ScheduleAt(msg, fireAt, s.Put(s.Due("text2video", "video", id)))
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		w.t.Fatal(err)
	}
}

// record returns the record of a request and its members, or nil while its timer has fired.
func (w *world) record(id string) (m *bus.Message, members map[string]any) {
	w.t.Helper()
	s := subjects.Default()
	stream, err := w.js.Stream(w.ctx, s.EventsStream())
	if err != nil {
		w.t.Fatal(err)
	}
	stored, err := stream.GetLastMsgForSubject(w.ctx, s.Pending("text2video", "video", id))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(stored.Data, &members); err != nil {
		w.t.Fatal(err)
	}
	return &bus.Message{Seq: stored.Sequence, Data: stored.Data}, members
}

// TestRecordOfANewerMinor goes on with a request whose record a newer version has begun, with members of its own.
func TestRecordOfANewerMinor(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), pollOnly: true, bridge: bridge.Options{
		LookupWindow: 100 * time.Millisecond, PollMinInterval: 200 * time.Millisecond, PollMaxInterval: 200 * time.Millisecond,
	}})
	w.putRecord("begun", map[string]any{
		"state": "creating", "owner": 1, "claim": "somebody's", "claimed_at": time.Now().Add(-time.Minute),
		"budget": map[string]any{"units": "3.50"},
	}, time.Now().Add(time.Hour))
	w.submit("begun", "a") // sequence 1 of the stream
	kept := func(step string, polls float64) {
		t.Helper()
		w.eventually(step, func() bool {
			m, rec := w.record("begun")
			if m == nil {
				return false
			}
			if budget, _ := rec["budget"].(map[string]any); budget["units"] != "3.50" {
				t.Fatalf("the record is now %v", rec)
			}
			n, _ := rec["polls"].(float64)
			return rec["state"] == "submitted" && rec["attempt"] == 2.0 && n >= polls
		})
	}
	kept("the task is created", 0)
	kept("it was polled twice", 2)
	if err := w.sim.Finish(w.sim.Tasks()[0].ID); err != nil {
		t.Fatal(err)
	}
	// A record of before there were several accounts names none.
	if ev := w.await("begun"); ev.Status != events.StatusSucceed || ev.ExternalTaskID != "ext-begun" || ev.Account != kling.DefaultAccount {
		t.Errorf("got %+v", ev)
	}
	w.settledDown()
	if n := len(w.sim.Tasks()); n != 1 {
		t.Errorf("%d tasks", n)
	}
}

// TestRecordOfANewerVersion has records that mean what this version does not know: of a request that is in the stream,
// of a task whose timer fires, and of one whose timer has not fired when it seems it should have.
func TestRecordOfANewerVersion(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), replicas: 2, bridge: bridge.Options{
		LookupWindow: 50 * time.Millisecond, ReconcileInterval: 200 * time.Millisecond,
	}})
	task := w.task("text2video", "polled")
	later, long := time.Now().Add(time.Hour), time.Now().Add(-time.Minute)
	submitted := func(taskID string) map[string]any {
		return map[string]any{
			"v": store.Version + 1, "state": "submitted", "owner": 1, "task_id": taskID, "external_task_id": task.ExternalID,
			"next_poll_at": long, "metadata": map[string]string{"Tenant": "acme"},
		}
	}
	w.putRecord("waits", map[string]any{"v": store.Version + 1, "state": "creating", "owner": 2, "claim": "x", "claimed_at": long}, later)
	w.putRecord("slept", submitted("871000000000000199"), later)
	w.putRecord("polled", submitted(task.ID), time.Now())
	waits, _ := w.record("waits")
	slept, _ := w.record("slept")
	w.submit("waits", "a")

	w.eventually("the request was given back", func() bool { return w.delivered("KLING_REQUESTS", "video-v1-normal") >= 4 })
	w.eventually("the poll was given back", func() bool { return w.delivered("KLING_EVENTS", "polls") >= 3 })
	swept := w.lastSweep()
	w.eventually("records were looked through", func() bool { return w.lastSweep() >= swept+2 })
	for id, want := range map[string]*bus.Message{"waits": waits, "slept": slept} {
		if got, _ := w.record(id); got == nil || got.Seq != want.Seq || !bytes.Equal(got.Data, want.Data) {
			t.Errorf("the record of %s was touched: %+v", id, got)
		}
	}
	if n := len(w.sim.Tasks()); n != 1 {
		t.Errorf("%d tasks at Kling", n)
	}

	// A callback completes the task all the same, also at the replica that did not create it.
	other := slices.IndexFunc(w.replicas, func(r *running) bool { return !strings.HasPrefix(task.CallbackURL, r.callbackURL) })
	_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
	path = "/callbacks/" + path
	end := v1Body(task, "succeed")
	if status := w.post(w.replicas[other].callbackURL+path, end); status != http.StatusOK {
		t.Errorf("the callback was answered %d", status)
	}
	if ev := w.await("polled"); ev.Status != events.StatusSucceed || ev.Source != events.SourceCallback || ev.Metadata["Tenant"] != "acme" {
		t.Errorf("got %+v", ev)
	}

	// The newer version takes its record back, and with it what stood in the way.
	s, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(w.ctx, waits.Seq); err != nil {
		t.Fatal(err)
	}
	w.eventually("the request becomes a task", func() bool { return len(w.sim.Tasks()) == 2 })
	w.eventually("the request is acked", func() bool { return w.count("KLING_REQUESTS", ">") == 0 })
}

// lastSweep grows with each search for lost tasks and timers.
func (w *world) lastSweep() uint64 {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, "KLING_SETTINGS")
	if err != nil {
		w.t.Fatal(err)
	}
	return s.CachedInfo().State.LastSeq
}

// delivered is how often a consumer has delivered anything.
func (w *world) delivered(stream, durable string) uint64 {
	w.t.Helper()
	c, err := w.js.Consumer(w.ctx, stream, durable)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.CachedInfo().Delivered.Consumer
}
