package bridge_test

import (
	"net/http"
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
	t.Parallel()
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

// TestLostStateOfTheNewerAPI takes from JetStream what it knows of tasks whose lists do not tell their kind. Of one its
// progress is left, which does; of one its outputs do; another is taken for the kind that is likeliest to have its own.
func TestLostStateOfTheNewerAPI(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Callbacks: klingtest.None}, bridge: quickSweeps})
	lost := map[string]struct {
		kind, found string
		fields      map[string]any
	}{
		"told":    {"image-to-video", "image-to-video", coreBodies["image-to-video"]},
		"guessed": {"image-to-video", "text-to-video", coreBodies["image-to-video"]},
		"shown":   {"clothing-dupe", "clothing-dupe", solutionBodies["clothing-dupe"]},
	}
	for id, task := range lost {
		w.request(testRequest{Kind: task.kind, ID: id, Body: body(task.fields)})
	}
	w.eventually("all tasks are announced", func() bool {
		return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == uint64(len(lost))
	})
	w.forget("kling-state.pending.*.*.*", "kling.*.*.*.guessed", "kling.*.*.*.shown")
	for id, task := range lost {
		ev := w.await(id)
		if ev.Status != events.StatusSucceed || ev.Kind != task.found || len(ev.Result.Videos) != 1 {
			t.Errorf("%s: %+v, want kind %s", id, ev, task.found)
		}
	}
	if n := len(w.sim.Tasks()); n != len(lost) {
		t.Errorf("%d tasks", n)
	}
}

// TestSearchKnowsWhatWaits has something before Kling refuses create calls that have made tasks, whose callbacks do not come.
// Recorded: the search found the tasks first, and they were completed without metadata and as of likely kinds.
func TestSearchKnowsWhatWaits(t *testing.T) {
	t.Parallel()
	o := quickSweeps
	o.LookupWindow = 100 * time.Millisecond // the search comes before the probes of the kinds
	refused := klingtest.Page{HTTPStatus: http.StatusForbidden, Title: "Attention Required!"}
	refused.AfterStore = true
	w := start(t, setup{bridge: o, sim: klingtest.Options{
		Callbacks: klingtest.None, Faults: klingtest.Faults{Create: func(klingtest.CreateView) klingtest.Fault { return refused }},
	}})
	kinds := map[string]string{"order-1": "text2video", "order-2": "image-to-video"} // lists do not tell the latter
	for id, kind := range kinds {
		w.request(testRequest{Kind: kind, ID: id, Body: body(coreBodies[kind]), Metadata: map[string]string{"Tenant": id}})
	}
	for id, kind := range kinds {
		ev := w.await(id)
		if ev.Status != events.StatusSucceed || ev.RequestID != id || ev.Kind != kind || ev.Metadata["Tenant"] != id || ev.TaskID == "" {
			t.Errorf("%s: %+v", id, ev)
		}
	}
	if n := len(w.sim.Tasks()); n != len(kinds) {
		t.Errorf("%d tasks", n)
	}
}

// TestLostTaskThatCallsBack has its callback tell the kind of a task of which nothing else is known: a search that finds it
// before leaves it alone.
func TestLostTaskThatCallsBack(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: quickSweeps})
	task := w.task("image-to-video", "running")
	w.forget("kling-state.pending.*.*.*", "kling.*.*.*.running")
	w.eventually("it is old enough to be searched for", func() bool {
		return time.Since(task.CreatedAt) > quickSweeps.LookupWindow+100*time.Millisecond
	})
	swept := w.lastSweep()
	w.eventually("it was searched for", func() bool { return w.lastSweep() >= swept+2 })
	if status := w.post(task.CallbackURL, v2Body(task, "succeeded")); status != http.StatusOK {
		t.Errorf("the callback was answered %d", status)
	}
	if ev := w.await("running"); ev.Kind != "image-to-video" || ev.Source != events.SourceCallback {
		t.Errorf("got %+v", ev)
	}
	if n := w.count("KLING_EVENTS", "kling-state.*.*.*.running"); n != 0 {
		t.Errorf("%d records of it", n)
	}
}

// TestRefusedListStopsNoSweep has Kling refuse the list of one kind for good: a lost task of a later kind is found all
// the same, one of that kind is by its query, and so is a record whose timer is gone.
func TestRefusedListStopsNoSweep(t *testing.T) {
	t.Parallel()
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
	w.request(testRequest{Kind: "image-generations", ID: "lost", Body: body(map[string]any{"prompt": "a"})})
	w.submit("unlisted", "a")
	w.eventually("both tasks are announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 2 })
	task := w.task("text2video", "stopped")
	w.forget("kling-state.pending.*.*.*", "kling.*.*.*.lost", "kling.*.*.*.unlisted")
	w.putRecord("stopped", map[string]any{
		"v": 1, "state": "submitted", "owner": 1, "task_id": task.ID, "external_task_id": task.ExternalID,
		"next_poll_at": time.Now().Add(-time.Minute),
	}, time.Now().Add(time.Hour))
	for id, kind := range map[string]string{"lost": "image-generations", "unlisted": "text2video", "stopped": "text2video"} {
		if ev := w.await(id); ev.Status != events.StatusSucceed || ev.Kind != kind {
			t.Errorf("%s: got %+v", id, ev)
		}
	}
}

// TestSweepWithAKeyPair has credentials that only the older API takes: nothing else is asked.
func TestSweepWithAKeyPair(t *testing.T) {
	t.Parallel()
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
