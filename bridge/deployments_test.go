package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestCallbackOfAnotherDeployment sends the callbacks of one deployment to another that shares its callback secret, as a
// staging system with the settings of production does: nothing is published there.
func TestCallbackOfAnotherDeployment(t *testing.T) {
	t.Parallel()
	secret := []string{"shared-secret"}
	lost := klingtest.Faults{LoseCallback: 1}
	staging := start(t, setup{sim: klingtest.Options{Faults: lost}, bridge: bridge.Options{CallbackSecrets: secret, Namespace: "staging"}})
	production := start(t, setup{bridge: bridge.Options{CallbackSecrets: secret, Namespace: "production"}})
	staging.submit("order-1", "a")
	if err := staging.sim.WaitTasks(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	task := staging.sim.Tasks()[0]
	target := production.replicas[0].callbackURL + strings.TrimPrefix(task.CallbackURL, staging.replicas[0].callbackURL)
	body := fmt.Sprintf(`{"task_id":%q,"task_status":"failed","task_status_msg":"x","task_info":{"external_task_id":%q}}`,
		task.ID, task.ExternalID)
	if status := staging.post(target, body); status != http.StatusNotFound {
		t.Errorf("production answers %d, want 404", status)
	}
	if n := production.count("KLING_EVENTS", "kling.completion.>"); n != 0 {
		t.Errorf("production has %d completions of requests that nobody made", n)
	}
}

// TestCallbackOfAnUnknownTask reports on a right URL a task that is none of this deployment's: nothing is known of the
// request, and the task's external id is not the one that would be derived for it.
func TestCallbackOfAnUnknownTask(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	w.submit("order-1", "a")
	w.await("order-1")
	target := w.sim.Tasks()[0].CallbackURL
	stream, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Purge(w.ctx); err != nil {
		t.Fatal(err)
	}
	body := `{"task_id":"871000000000000999","task_status":"failed","task_info":{"external_task_id":"k0000000-order-1"}}`
	if status := w.post(target, body); status != http.StatusConflict {
		t.Errorf("answered %d, want 409", status)
	}
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 0 {
		t.Errorf("%d completions, want none", n)
	}
}

// TestCallbackBesideTheEnd reports on the URL of a request that has expired while it seemed never sent, as something before
// Kling had refused what Kling answered. Only its own task is taken for late.
func TestCallbackBesideTheEnd(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{sim: silent()})
	e.set(func(r *http.Request, _ string) *page {
		if r.Method == http.MethodPost {
			return &page{403, html404}
		}
		return nil
	})
	e.mu.Lock()
	e.late = true
	e.mu.Unlock()
	id := w.request(testRequest{
		Kind: "text2video", ID: "expired", Timeout: 500 * time.Millisecond, Body: body(map[string]any{"prompt": "a"}),
	})
	if ev := w.await(id); ev.Status != events.StatusExpired || ev.ExternalTaskID != "" {
		t.Fatalf("got %+v", ev)
	}
	task := w.sim.Tasks()[0]
	other := task
	other.ExternalID = "somebody-elses"
	if status := w.post(task.CallbackURL, v1Body(other, "succeed")); status != http.StatusConflict {
		t.Errorf("another task is answered %d, want 409", status)
	}
	if n := w.count("KLING_EVENTS", "kling.late.>"); n != 0 {
		t.Errorf("%d late events", n)
	}
	if status := w.post(task.CallbackURL, v1Body(task, "succeed")); status != http.StatusOK {
		t.Errorf("its task is answered %d, want 200", status)
	}
	w.eventually("the result is late", func() bool { return w.count("KLING_EVENTS", "kling.late.*.succeed.expired") == 1 })
}
