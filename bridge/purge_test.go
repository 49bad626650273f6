package bridge_test

import (
	"log/slog"
	"maps"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestRepeatOfWhatWasDeleted has an operator delete all that is known of a task under way, and its requester ask for it
// again. Recorded, the repeat was sent, and only Kling's refusal of a known external id kept it from being paid twice. The
// replica that has made the task looks it up first, however often it was polled since.
func TestRepeatOfWhatWasDeleted(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), pollOnly: true, bridge: bridge.Options{PollMinInterval: 200 * time.Millisecond}})
	task := w.task("text2video", "order-1")
	w.eventually("the request is acked", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
	w.eventually("the task is polled", func() bool { return w.sim.Calls().Queries > 1 })
	w.forget("kling.progress.>", "kling-state.>")
	w.repeatIsAdopted(task)
}

// TestPurgeIsNoticed has an operator purge the events, which changes no last sequence, and a task asked for again that an
// earlier replica has made.
func TestPurgeIsNoticed(t *testing.T) {
	t.Parallel()
	log := &logged{}
	s := setup{
		sim: silent(), pollOnly: true,
		bridge: bridge.Options{PollMinInterval: 200 * time.Millisecond, Logger: slog.New(slog.NewJSONHandler(log, nil))},
	}
	w := start(t, s)
	task := w.task("text2video", "order-1")
	w.eventually("the request is acked", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
	w.replicas[0].stop()
	r := w.startBridge(s)
	w.edit("KLING_REQUESTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 1000 })
	w.awaitReasons(r, "max_msgs is 1000") // it has looked at the streams
	w.edit("KLING_REQUESTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = -1 })
	w.waitReady(r)
	w.forget("kling.progress.>", "kling-state.>")
	w.eventually("it is noticed", func() bool { return log.has("events were deleted by hand", "KLING_EVENTS") })
	w.repeatIsAdopted(task)
}

// repeatIsAdopted asks for a task again of which nothing is stored: it is found, and nothing is sent.
func (w *world) repeatIsAdopted(task klingtest.TaskView) {
	w.t.Helper()
	before := w.sim.Calls().Creates
	w.requestAgain(testRequest{Kind: "text2video", ID: "order-1", Body: body(map[string]any{"prompt": "a"})})
	w.eventually("it is known again", func() bool { return w.count("KLING_EVENTS", "kling-state.*.*.*.order-1") == 1 })
	if err := w.sim.Finish(task.ID); err != nil {
		w.t.Fatal(err)
	}
	if ev := w.await("order-1"); ev.Status != events.StatusSucceed || ev.TaskID != task.ID {
		w.t.Errorf("ended as %s with task %s, want %s", ev.Status, ev.TaskID, task.ID)
	}
	if n := w.sim.Calls().Creates - before; n != 0 {
		w.t.Errorf("%d create calls for a repeat", n)
	}
}

// TestLostRecordIsToldByProgress deletes the record of a task that was announced, and no callback comes. The search at Kling
// finds the task, and its progress tells the rest. It was completed without its metadata.
func TestLostRecordIsToldByProgress(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), pollOnly: true, bridge: bridge.Options{
		ReconcileInterval: time.Second, LookupWindow: 100 * time.Millisecond, PollMinInterval: time.Minute,
	}})
	r := testRequest{Kind: "text2video", ID: "order-1", Body: body(map[string]any{"prompt": "a"}), Metadata: map[string]string{"Tenant": "acme"}}
	w.request(r)
	w.eventually("the request is acked", func() bool {
		return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 1 && w.count("KLING_REQUESTS", "kling.request.>") == 0
	})
	task := w.sim.Tasks()[0]
	w.forget("kling-state.>")
	if err := w.sim.Finish(task.ID); err != nil {
		t.Fatal(err)
	}
	ev := w.await(r.ID)
	if ev.Status != events.StatusSucceed || ev.TaskID != task.ID || !maps.Equal(ev.Metadata, r.Metadata) {
		t.Errorf("ended as %+v", ev)
	}
}
