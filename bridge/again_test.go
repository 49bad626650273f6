package bridge_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// asked checks what is told of a request's body.
func (w *world) asked(id string, status events.Status, want string) events.Task {
	w.t.Helper()
	task := w.untilStatus(id, status)
	if task.Body != want || task.BodyBytes != len(want) {
		w.t.Errorf("%s, which is %s: asked for %q of %d bytes, want %q", id, status, task.Body, task.BodyBytes, want)
	}
	return task
}

// TestGetShowsWhatWasAskedFor follows bodies from the stream to every end.
func TestGetShowsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	w := start(t, setup{sim: klingtest.Options{Faults: klingtest.Faults{
		Create: func(v klingtest.CreateView) klingtest.Fault {
			if v.Prompt == "held" {
				<-hold
			}
			return nil
		},
	}}})
	for _, body := range []string{`{ "prompt":"a", "cfg_scale":0.50 }`, `{"prompt":"fail:no"}`, `{"prompt":"[policy]"}`, `{"prompt":"held"}`, `no JSON`} {
		msg := w.message(fmt.Sprintf("id-%x", body), "")
		msg.Header.Set("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
		msg.Data = []byte(body)
		if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
			t.Fatal(err)
		}
	}
	for body, status := range map[string]events.Status{
		`{ "prompt":"a", "cfg_scale":0.50 }`: events.StatusSucceed, `{"prompt":"fail:no"}`: events.StatusFailed,
		`{"prompt":"[policy]"}`: events.StatusRejected, `{"prompt":"held"}`: events.StatusCreating, `no JSON`: events.StatusRejected,
	} {
		task := w.asked(fmt.Sprintf("id-%x", body), status, body)
		if task.TraceID != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("%s: trace %q", status, task.TraceID)
		}
	}
	list, err := w.client.Tasks(w.ctx, events.TaskQuery{})
	if err != nil || len(list.Tasks) != 5 || slices.ContainsFunc(list.Tasks, func(t events.Task) bool { return t.Body != "" }) {
		t.Errorf("%+v, %v; want no bodies in a list", list.Tasks, err)
	}
	release()
	w.asked(fmt.Sprintf("id-%x", `{"prompt":"held"}`), events.StatusSucceed, `{"prompt":"held"}`)
	w.settledDown()
	w.asked(fmt.Sprintf("id-%x", `{"prompt":"held"}`), events.StatusSucceed, `{"prompt":"held"}`)
}

// TestGetShowsWhatWasAskedForInVain is about requests that end while they wait.
func TestGetShowsWhatWasAskedForInVain(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.asked("long", events.StatusProcessing, `{"prompt":"a"}`)
	w.submit("waits", "b")
	w.asked("waits", events.StatusWaiting, `{"prompt":"b"}`)
	if err := w.client.Cancel(w.ctx, "waits"); err != nil {
		t.Fatal(err)
	}
	w.eventually("no request is left", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
	w.asked("waits", events.StatusCancelled, `{"prompt":"b"}`)
	late := w.message("late", "c")
	late.Header.Set(events.HeaderTimeout, "1ns")
	if _, err := w.js.PublishMsg(w.ctx, late); err != nil {
		t.Fatal(err)
	}
	w.await("late")
	w.eventually("no request is left", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
	w.asked("late", events.StatusExpired, `{"prompt":"c"}`)
}

func TestGetClipsTheBody(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	prompt := strings.Repeat("ü", 4096)
	w.submit("a", prompt)
	w.await("a")
	task, err := w.client.Task(w.ctx, "a")
	whole := string(body(map[string]any{"prompt": prompt}))
	if err != nil || task.BodyBytes != len(whole) || !strings.HasPrefix(whole, task.Body) || len(task.Body) > 4096 ||
		len(task.Body) < 4096-utf8.UTFMax {
		t.Errorf("%d bytes shown of %d, of which there are %d, %v", len(task.Body), task.BodyBytes, len(whole), err)
	}
}

// TestAgain sends a request again that has succeeded, and that one again.
func TestAgain(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	requests, err := w.nc.SubscribeSync("kling.request.>")
	if err != nil {
		t.Fatal(err)
	}
	msg := nats.NewMsg("kling.request.text2video.high")
	msg.Data = []byte(`{"prompt":"a", "cfg_scale":0.50,"duration":"5"}`)
	msg.Header = nats.Header{
		"Kling-Request-Id": {"a"}, "Kling-Timeout": {"2h"}, "Kling-Meta-Tenant": {"acme"}, "X-Mine": {"1", "2"}, "Nats-Msg-Id": {"mine"},
	}
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		t.Fatal(err)
	}
	if _, err := requests.NextMsg(patience); err != nil {
		t.Fatal(err)
	}
	w.await("a")
	w.settledDown()
	for n, c := range []struct{ set, data string }{
		{``, `{"prompt":"a", "cfg_scale":0.50,"duration":"5"}`},
		{`,"set":{"duration":"10","seed":1.50}`, `{"prompt":"a","cfg_scale":0.50,"duration":"10","seed":1.50}`},
	} {
		as := fmt.Sprintf("a-r%d", n+1)
		if code, answer := w.ask(events.EndpointTaskAgain, `{"request_id":"a"`+c.set+`}`); code != "" || answer != `{"request_id":"`+as+`"}` {
			t.Fatalf("%s %s", code, answer)
		}
		got, err := requests.NextMsg(patience)
		if err != nil {
			t.Fatal(err)
		}
		want := nats.Header{
			"Kling-Timeout": {"2h"}, "Kling-Meta-Tenant": {"acme"}, "X-Mine": {"1", "2"}, "Nats-Msg-Id": {as},
			"Kling-Request-Id": {as}, "Kling-Replay-Of": {"a"},
		}
		if diff := cmp.Diff(want, got.Header); diff != "" || got.Subject != "kling.request.text2video.high" || string(got.Data) != c.data {
			t.Errorf("%s %s (-want +got):\n%s", got.Subject, got.Data, diff)
		}
		if ev := w.await(as); ev.Status != events.StatusSucceed || ev.ReplayOf != "a" || ev.Metadata["Tenant"] != "acme" {
			t.Errorf("got %+v", ev)
		}
		w.asked(as, events.StatusSucceed, c.data)
	}
	if n := len(w.sim.Tasks()); n != 3 {
		t.Errorf("%d tasks, want 3", n)
	}
	w.noViolations()
}

// TestAgainWhateverItsEnd sends requests again that did not succeed.
func TestAgainWhateverItsEnd(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	for prompt, status := range map[string]events.Status{"fail:no": events.StatusFailed, "[policy]": events.StatusRejected} {
		w.submit(string(status), prompt)
		if ev := w.await(string(status)); ev.Status != status {
			t.Fatalf("got %+v", ev)
		}
	}
	late := w.message("expired", "a")
	late.Header.Set(events.HeaderTimeout, "1ns")
	if _, err := w.js.PublishMsg(w.ctx, late); err != nil {
		t.Fatal(err)
	}
	w.await("expired")
	for _, id := range []string{"failed", "rejected"} {
		as, err := w.client.Again(w.ctx, id, map[string]json.RawMessage{"prompt": json.RawMessage(`"better"`)})
		if err != nil || as != id+"-r1" {
			t.Fatalf("%s: %s, %v", id, as, err)
		}
		if ev := w.await(as); ev.Status != events.StatusSucceed || ev.ReplayOf != id {
			t.Errorf("got %+v", ev)
		}
	}
	if as, err := w.client.Again(w.ctx, "expired", nil); err != nil || as != "expired-r1" {
		t.Errorf("%s, %v", as, err)
	}
}

func TestAgainIsRefused(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.submit("waits", strings.Repeat("a", 900<<10))
	w.untilStatus("waits", events.StatusWaiting)
	for question, code := range map[string]string{
		`{"request_id":"nobody"}`: "404", `{"request_id":""}`: "400", ``: "400", `long`: "400", `{"request_id":"waits","with":1}`: "400",
		`{"request_id":"waits"}`: "409", `{"request_id":"long"}`: "409",
	} {
		if got, message := w.ask(events.EndpointTaskAgain, question); got != code || message == "" {
			t.Errorf("%s: %s %s, want %s", question, got, message, code)
		}
	}
	if err := w.client.Cancel(w.ctx, "waits"); err != nil {
		t.Fatal(err)
	}
	set := map[string]json.RawMessage{"image": body(map[string]any{"x": strings.Repeat("x", 200<<10)})}
	_, err := w.client.Again(w.ctx, "waits", set)
	wantRefusal(t, err, 400)
	if as, err := w.client.Again(w.ctx, "waits", nil); err != nil || as != "waits-r1" {
		t.Fatalf("%s, %v", as, err)
	}
	_, err = w.client.Again(w.ctx, "waits", nil) // which has not ended
	wantRefusal(t, err, 409)

	w.submit("old", "a")
	if err := w.client.Cancel(w.ctx, "old"); err != nil {
		t.Fatal(err)
	}
	w.eventually("one request is left", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 1 })
	w.forget("kling-state.original.*.request.request.old") // as of a request that an older version ended
	w.asked("old", events.StatusCancelled, "")
	_, err = w.client.Again(w.ctx, "old", nil)
	wantRefusal(t, err, 409)
}

// TestAgainWithAnExternalID is about requests that brought ids along, which Kling takes once.
func TestAgainWithAnExternalID(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	w.request(testRequest{Kind: "text2video", ID: "v1", Body: json.RawMessage(`{"prompt":"a","external_task_id":"mine"}`)})
	w.request(testRequest{
		Kind: "text-to-video", ID: "v2", Body: json.RawMessage(`{"model":"kling-3.0","prompt":"a","options":{"external_task_id":"mine-2"}}`),
	})
	for id, sets := range map[string]map[string]int{
		"v1": {``: 409, `{"external_task_id":"mine"}`: 409, `{"external_task_id":null}`: 409, `{"external_task_id":"new"}`: 0},
		"v2": {``: 409, `{"external_task_id":"new-2"}`: 409, `{"options":{}}`: 409, `{"options":{"external_task_id":"new-2"}}`: 0},
	} {
		w.await(id)
		for _, text := range slices.Sorted(maps.Keys(sets)) {
			var set map[string]json.RawMessage
			if text != "" {
				if err := json.Unmarshal([]byte(text), &set); err != nil {
					t.Fatal(err)
				}
			}
			as, err := w.client.Again(w.ctx, id, set)
			if code := sets[text]; code != 0 {
				wantRefusal(t, err, code)
				continue
			}
			if err != nil {
				t.Fatalf("%s with %s: %v", id, text, err)
			}
			if ev := w.await(as); ev.Status != events.StatusSucceed || !strings.HasPrefix(ev.ExternalTaskID, "new") {
				t.Errorf("got %+v", ev)
			}
		}
	}
}

// TestAgainRaces has many send the same request again at once, some with another body. All who are told an id are told the
// same, of a request with the body that they asked for.
func TestAgainRaces(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.submit("a", "a")
	if err := w.client.Cancel(w.ctx, "a"); err != nil {
		t.Fatal(err)
	}
	const racers = 8
	var mu sync.Mutex
	told := map[int]bool{} // whose body
	var racing sync.WaitGroup
	for i := range racers {
		racing.Go(func() {
			as, err := w.client.Again(w.ctx, "a", map[string]json.RawMessage{"seed": json.RawMessage(fmt.Sprint(i % 2))})
			if err != nil {
				wantRefusal(t, err, 409)
				return
			}
			if as != "a-r1" {
				t.Errorf("sent again as %s", as)
			}
			mu.Lock()
			told[i%2] = true
			mu.Unlock()
		})
	}
	racing.Wait()
	if n := w.count("KLING_REQUESTS", "kling.request.>"); n != 1 || len(told) != 1 {
		t.Errorf("%d requests, and %d bodies told of", n, len(told))
	}
	for seed := range told {
		w.asked("a-r1", events.StatusWaiting, fmt.Sprintf(`{"prompt":"a","seed":%d}`, seed))
	}
}

func TestListByMetadata(t *testing.T) {
	t.Parallel()
	w := full(t)
	for _, id := range []string{"ended", "waits"} {
		for tenant, order := range map[string]string{"acme": "7", "other": "7", "both": "8"} {
			w.request(testRequest{
				Kind: "text2video", ID: id + "-" + tenant, Body: body(map[string]any{"prompt": "a"}),
				Metadata: map[string]string{"Tenant": tenant, "Order": order},
			})
			if id != "ended" {
				continue
			}
			if err := w.client.Cancel(w.ctx, id+"-"+tenant); err != nil {
				t.Fatal(err)
			}
		}
	}
	for question, want := range map[string]string{
		`{"meta":{"Tenant":"acme"}}`:                              "waits-acme ended-acme",
		`{"meta":{"tenant":"acme","Order":"7"}}`:                  "waits-acme ended-acme",
		`{"meta":{"Tenant":"acme","Order":"8"}}`:                  "",
		`{"meta":{"Tenant":"ACME"}}`:                              "",
		`{"meta":{"Nobody":""}}`:                                  "",
		`{"meta":{"Order":"8"},"status":"cancelled,waiting"}`:     "waits-both ended-both",
		`{"meta":{"Order":"8"},"status":"cancelled, processing"}`: "ended-both",
	} {
		code, answer := w.ask(events.EndpointTaskList, question)
		var list events.TaskList
		if err := json.Unmarshal([]byte(answer), &list); code != "" || err != nil {
			t.Fatalf("%s: %s %s", question, code, answer)
		}
		ids := make([]string, len(list.Tasks))
		for i, task := range list.Tasks {
			ids[i] = task.RequestID
		}
		if got := strings.Join(ids, " "); got != want {
			t.Errorf("%s: %q, want %q", question, got, want)
		}
	}
}

// TestOriginalOfAnIDThatIsUsedAgain has an operator delete what is known of a request by its subjects, and leave its body.
func TestOriginalOfAnIDThatIsUsedAgain(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.edit("KLING_EVENTS", func(c *jetstream.StreamConfig) { c.Duplicates = 100 * time.Millisecond })
	for _, prompt := range []string{"a", "b"} {
		if _, err := w.js.PublishMsg(w.ctx, w.message("again", prompt)); err != nil {
			t.Fatal(err)
		}
		w.untilStatus("again", events.StatusWaiting)
		w.eventually("it is cancelled", func() bool { return w.client.Cancel(w.ctx, "again") == nil })
		w.eventually("no request is left", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
		w.asked("again", events.StatusCancelled, `{"prompt":"`+prompt+`"}`)
		w.forget("kling.completion.*.*.again")
	}
}
