package bridge_test

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestLostStateIsFoundAgain takes from JetStream what it knows of one task.
func TestLostStateIsFoundAgain(t *testing.T) {
	w := start(t, setup{
		sim: klingtest.Options{Callbacks: klingtest.None}, replicas: 2,
		bridge: bridge.Options{ReconcileInterval: 300 * time.Millisecond, LookupWindow: time.Second},
	})
	w.submit("lost", "a")
	w.submit("kept", "a")
	w.eventually("both tasks are announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 2 })
	w.forget("kling-state.pending.*.*.lost", "kling.*.*.*.lost")
	ev := w.await("lost")
	if ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll || ev.TaskID == "" {
		t.Errorf("got %+v", ev)
	}
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 1 {
		t.Errorf("%d completions: the task whose timer is set was not to be touched", n)
	}
	if n := len(w.sim.Tasks()); n != 2 {
		t.Errorf("%d tasks", n)
	}
}

// quickSweeps searches for lost state all the time. PollAfter is long: whatever ends was found by a search.
var quickSweeps = bridge.Options{ReconcileInterval: 300 * time.Millisecond, LookupWindow: time.Second}

// TestLostStateOfTheNewerAPI takes from JetStream what it knows of two tasks whose list does not tell their kind: of one
// its progress is left, which does.
func TestLostStateOfTheNewerAPI(t *testing.T) {
	w := start(t, setup{sim: klingtest.Options{Callbacks: klingtest.None}, bridge: quickSweeps})
	for _, id := range []string{"told", "guessed"} {
		w.request(events.Request{Kind: "image-to-video", ID: id, Body: body(coreBodies["image-to-video"])})
	}
	w.eventually("both tasks are announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 2 })
	w.forget("kling-state.pending.*.*.told", "kling-state.pending.*.*.guessed", "kling.*.*.*.guessed")
	for id, kind := range map[string]string{"told": "image-to-video", "guessed": "text-to-video"} {
		ev := w.await(id)
		if ev.Status != events.StatusSucceed || ev.Kind != kind || len(ev.Result.Videos) != 1 {
			t.Errorf("%s: %+v, want kind %s", id, ev, kind)
		}
	}
	if n := len(w.sim.Tasks()); n != 2 {
		t.Errorf("%d tasks", n)
	}
}

// TestRefusedListStopsNoSweep has Kling refuse the list of one kind for good: a lost task of a later kind is found all
// the same, and so is a record whose timer is gone.
func TestRefusedListStopsNoSweep(t *testing.T) {
	refuse := func(v klingtest.QueryView) klingtest.Fault {
		if v.Route == klingtest.RouteList && v.Kind == "text2video" {
			return klingtest.Answer{HTTPStatus: 403, Code: 1103}
		}
		return nil
	}
	w := start(t, setup{
		sim:    klingtest.Options{Callbacks: klingtest.None, Faults: klingtest.Faults{Query: refuse}},
		bridge: quickSweeps,
	})
	w.request(events.Request{Kind: "image-generations", ID: "lost", Body: body(map[string]any{"prompt": "a"})})
	task := w.task("text2video", "stopped")
	w.eventually("both tasks are announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 2 })
	w.forget("kling-state.pending.*.*.*", "kling.*.*.*.lost")
	w.putRecord("stopped", map[string]any{
		"v": 1, "state": "submitted", "owner": 1, "task_id": task.ID, "external_task_id": task.ExternalID,
		"next_poll_at": time.Now().Add(-time.Minute),
	}, time.Now().Add(time.Hour))
	for id, kind := range map[string]string{"lost": "image-generations", "stopped": "text2video"} {
		if ev := w.await(id); ev.Status != events.StatusSucceed || ev.Kind != kind {
			t.Errorf("%s: got %+v", id, ev)
		}
	}
}

// TestSweepWithAKeyPair has credentials that only the older API takes: nothing else is asked.
func TestSweepWithAKeyPair(t *testing.T) {
	w := &world{t: t, ctx: t.Context(), urls: bustest.Start(t).URL()}
	w.startSim(klingtest.Options{Callbacks: klingtest.None, AccessKey: "access", SecretKey: "secret"})
	w.connect()
	o := quickSweeps
	o.Kling = w.klingClient(kling.Credentials{AccessKey: "access", SecretKey: "secret"}, noop.NewTracerProvider())
	w.startBridge(setup{bridge: o})
	w.submit("lost", "a")
	w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 1 })
	w.forget("kling-state.pending.*.*.lost", "kling.*.*.*.lost")
	w.await("lost")
	swept := w.lastSweep()
	w.eventually("it was all swept", func() bool { return w.lastSweep() >= swept+2 })
	if n := w.sim.Calls().Refused[1002]; n != 0 {
		t.Errorf("%d calls were refused", n)
	}
}
