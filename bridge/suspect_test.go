package bridge_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestStoreWasSetBack starts a bridge on a store that knows nothing of a task that an earlier run has made: recorded with
// the store of six seconds before, requests were paid twice or rejected. Whatever was stored before the start is looked up.
func TestStoreWasSetBack(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{Namespace: "n"}})
	w.submit("order-1", "a")
	externalID := strings.Replace(w.await("order-1").ExternalTaskID, "order-1", "order-2", 1)
	w.replicas[0].stop()
	body := fmt.Sprintf(`{"model_name":"kling-v3","prompt":"b","external_task_id":%q}`, externalID)
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, w.sim.URL+"/v1/videos/text2video", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	w.submit("order-2", "b")
	w.startBridge(setup{bridge: bridge.Options{Namespace: "n", PollMinInterval: 100 * time.Millisecond}, pollOnly: true})
	if ev := w.await("order-2"); ev.Status != events.StatusSucceed || ev.ExternalTaskID != externalID {
		t.Errorf("%s with the external id %q, want %q", ev.Status, ev.ExternalTaskID, externalID)
	}
	if n := w.sim.Calls().Creates; n != 2 {
		t.Errorf("%d create calls, want 2: the bridge's first, and the one by hand", n)
	}
}

// TestIDOfAnotherRequest asks for a task under the external id that is derived for another request, which is in every event:
// recorded, that one was completed with the asker's task, or made none of its own.
func TestIDOfAnotherRequest(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	w.submit("victim", "a")
	derived := w.await("victim").ExternalTaskID
	next := strings.Replace(derived, "victim", "next", 1)
	for id, externalID := range map[string]string{"attacker-1": derived, "attacker-2": next} {
		w.request(testRequest{Kind: "text2video", ID: id, Body: body(map[string]any{"prompt": "x", "external_task_id": externalID})})
		if ev := w.await(id); ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInvalid {
			t.Errorf("%s ended as %s", id, ev.Status)
		}
	}
	w.request(testRequest{Kind: "text2video", ID: "next", Body: body(map[string]any{"prompt": "x", "external_task_id": next})})
	if ev := w.await("next"); ev.Status != events.StatusSucceed {
		t.Errorf("the request whose own id it is ended as %s", ev.Status)
	}
}

// TestClockIsOff runs bridges whose clock is far from the NATS server's. They go by the server's.
func TestClockIsOff(t *testing.T) {
	t.Parallel()
	for name, offset := range map[string]time.Duration{"behind": -20 * time.Second, "ahead": 10 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := func() time.Time { return time.Now().Add(offset) }
			w := start(t, setup{
				sim: klingtest.Options{Duration: 2 * time.Second, SubmittedFor: time.Millisecond}, pollOnly: true,
				bridge: bridge.Options{Bus: bus.Options{Now: clock}, PollMinInterval: 500 * time.Millisecond},
			})
			w.request(testRequest{
				Kind: "text2video", ID: "order-1", Timeout: time.Minute, Body: body(map[string]any{"prompt": "a"}),
			})
			if ev := w.await("order-1"); ev.Status != events.StatusSucceed {
				t.Fatalf("ended as %s", ev.Status)
			}
			if n := w.sim.Calls().Queries; n > 8 {
				t.Errorf("%d queries of a task that took four intervals", n)
			}
			status, text := w.readiness(w.replicas[0])
			if status != http.StatusOK || !bytes.Contains([]byte(text), []byte(`"component":"clock"`)) {
				t.Errorf("readiness says %d %s", status, text)
			}
		})
	}
}
