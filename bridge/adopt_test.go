package bridge_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

func TestAdoption(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Adopt: true}})
	own := w.task("text2video", "own")
	url := bare(own.CallbackURL)
	create := func(externalID string) kling.Task {
		t.Helper()
		client := w.klingClient(kling.Credentials{APIKey: apiKey}, nil)
		k, _ := kling.DefaultKinds().Lookup("text2video")
		task, err := client.Create(w.ctx, k, "", body(map[string]any{
			"prompt": "theirs", "external_task_id": externalID, "callback_url": url,
		}))
		if err != nil {
			t.Fatal(err)
		}
		return task
	}
	named, nameless := create("theirs"), create("")
	for _, task := range []kling.Task{named, nameless} {
		if err := w.sim.Finish(task.ID); err != nil {
			t.Fatal(err)
		}
		view, _ := w.sim.Task(task.ID)
		if got := w.post(url, v1Body(view, "succeed")); got != http.StatusOK {
			t.Fatalf("got %d", got)
		}
	}
	for _, id := range []string{"theirs", "task-" + nameless.ID} {
		if ev := w.await(id); ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll {
			t.Errorf("%s: %+v", id, ev)
		}
	}
	if got := w.post(url, `{"task_id":"871000000000000999","task_status":"succeed","task_info":{"external_task_id":"victim"}}`); got != http.StatusNotFound {
		t.Errorf("a made-up task: %d", got)
	}
	for _, token := range []string{"task-871000000000000999", "victim"} {
		if n := w.count("KLING_EVENTS", "*.*.*.*."+token); n != 0 {
			t.Errorf("a made-up task has left %d messages about %s", n, token)
		}
	}
	// A body that gives a real task another's name: what Kling says counts.
	if got := w.post(url, fmt.Sprintf(`{"task_id":%q,"task_status":"succeed","task_info":{"external_task_id":"victim"}}`, named.ID)); got != http.StatusOK {
		t.Errorf("a repeated callback with another external id: %d", got)
	}
	if got := w.post(url, v1Body(own, "succeed")); got != http.StatusOK {
		t.Errorf("a task of the bridge on the wrong URL: %d", got)
	}
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 2 {
		t.Errorf("%d completions, want only those of the two foreign tasks", n)
	}
	if got := w.do(http.MethodGet, url, "", nil).status; got != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d, want 405", got)
	}
}

// TestWaitingRequestIsNotAdopted has somebody who can sign for one account tell of a task under the id of a request that waits
// for another. Recorded: it was completed with what the stranger said, and never sent.
func TestWaitingRequestIsNotAdopted(t *testing.T) {
	t.Parallel()
	a := silent()
	a.WebhookSecret = "whsec_YWFhYWFhYWFhYWFh"
	one, two := openAccount(t, "one", 5, a), openAccount(t, "two", 1, silent())
	o := on(t, one, two)
	o.Adopt = true
	w := start(t, setup{bridge: o})
	w.submitTo("two", "first")
	w.untilStatus("first", events.StatusSubmitted)
	w.submitTo("two", "waits")
	w.untilStatus("waits", events.StatusWaiting)
	forged := `{"task_id":"1","task_status":"succeed","task_info":{"external_task_id":"waits"},` +
		`"task_result":{"videos":[{"id":"1","url":"https://elsewhere.example/a.mp4","duration":"5"}]}}`
	got := w.do(http.MethodPost, bare(two.Tasks()[0].CallbackURL), forged, signed(t, one.secret, forged)).status
	if got != http.StatusConflict {
		t.Errorf("got %d, want 409", got)
	}
	if err := two.Finish(two.Tasks()[0].ID); err != nil {
		t.Fatal(err)
	}
	w.untilStatus("waits", events.StatusSubmitted)
	if n := len(two.Tasks()); n != 2 {
		t.Errorf("%d tasks, want that of the request that waited, too", n)
	}
}

// TestAdoptionLeavesOwnTasksAlone has a stranger name tasks of the bridge whose requests brought external ids of their own.
func TestAdoptionLeavesOwnTasksAlone(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), replicas: 2, bridge: bridge.Options{Adopt: true}})
	for _, c := range []struct {
		kind, id, external string
		body               map[string]any
	}{
		{"text2video", "first", "order-1", map[string]any{"prompt": "a", "external_task_id": "order-1"}},
		{"text2video", "second", "order.2", map[string]any{"prompt": "a", "external_task_id": "order.2"}},
		{"text2video", "order-3", "order-3", map[string]any{"prompt": "a", "external_task_id": "order-3"}},
		{"text-to-video", "fourth", "order-4", map[string]any{
			"model": "kling-3.0", "prompt": "a", "options": map[string]any{"external_task_id": "order-4"},
		}},
	} {
		w.request(testRequest{Kind: c.kind, ID: c.id, Body: body(c.body)})
		w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted."+c.id) == 1 })
		tasks := w.sim.Tasks()
		task := tasks[len(tasks)-1]
		if task.ExternalID != c.external {
			t.Fatalf("the task's external id is %q", task.ExternalID)
		}
		if err := w.sim.Finish(task.ID); err != nil {
			t.Fatal(err)
		}
		for _, r := range w.replicas {
			if got := w.post(r.callbackURL+"/callbacks/"+c.kind, fmt.Sprintf(`{"task_id":%q}`, task.ID)); got != http.StatusOK {
				t.Errorf("%s: got %d", c.id, got)
			}
		}
		if known := events.Token(c.external); known != c.id {
			if n := w.count("KLING_EVENTS", "*.*.*.*."+known); n != 0 {
				t.Errorf("%s was adopted as a second request: %d messages", c.id, n)
			}
		}
		if c.id == c.external { // by that id it is found, and Kling has confirmed that it has ended
			continue
		}
		if n := w.count("KLING_EVENTS", "kling.completion.*.*."+c.id); n != 0 {
			t.Errorf("%s has ended by a stranger's word", c.id)
		}
	}
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 1 {
		t.Errorf("%d completions, want that of order-3", n)
	}
}
