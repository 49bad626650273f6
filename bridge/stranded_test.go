package bridge_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// TestFiredTimerThatNobodyDelivers acks the message of a fired timer by hand, while no bridge runs: recorded, its request
// had no end for ever. The next bridge puts it back.
func TestFiredTimerThatNobodyDelivers(t *testing.T) {
	t.Parallel()
	s := setup{
		sim:      klingtest.Options{Duration: time.Hour, SubmittedFor: time.Millisecond},
		pollOnly: true,
		bridge: bridge.Options{
			PollMinInterval: 500 * time.Millisecond, ReconcileInterval: time.Second, LookupWindow: 100 * time.Millisecond,
		},
	}
	w := start(t, s)
	w.submit("order-1", "a")
	if err := w.sim.WaitTasks(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 1 })
	w.replicas[0].stop()
	due := subjects.Default().AllDue()
	w.eventually("its timer has fired", func() bool { return w.count("KLING_EVENTS", due) > 0 })
	polls, err := w.js.Consumer(w.ctx, "KLING_EVENTS", "polls")
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("it is acked by hand", func() bool {
		batch, err := polls.Fetch(10, jetstream.FetchMaxWait(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for m := range batch.Messages() {
			if err := m.DoubleAck(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
		info, err := polls.Info(w.ctx)
		return err == nil && info.NumPending == 0 && info.NumAckPending == 0
	})
	if w.count("KLING_EVENTS", due) == 0 {
		t.Fatal("the fired record has gone with the ack")
	}
	if err := w.sim.Finish(w.sim.Tasks()[0].ID); err != nil {
		t.Fatal(err)
	}
	w.startBridge(s)
	if ev := w.await("order-1"); ev.Status != events.StatusSucceed {
		t.Errorf("ended as %s", ev.Status)
	}
	w.settledDown()
}
