package bridge_test

import (
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
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
