package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// TestCallbackOfAnotherDeployment sends the callbacks of one deployment to another that shares its callback secret, as a
// staging system with the settings of production does: nothing is published there.
func TestCallbackOfAnotherDeployment(t *testing.T) {
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
