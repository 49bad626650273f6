package klingtest_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// bodiesOf runs a task from creation to its end, and returns all that was sent of it, by what it was sent for.
func bodiesOf(t *testing.T, path, body string, faults klingtest.Faults) map[klingtest.Rendering][]string {
	t.Helper()
	sent := map[klingtest.Rendering][]string{}
	synctest.Test(t, func(t *testing.T) {
		calls := &receiver{}
		sim := newAPI(t, klingtest.Options{CallbackHTTP: calls.client(), Faults: faults})
		created := sim.post(path, body)
		sent[klingtest.RenderedCreate] = append(sent[klingtest.RenderedCreate], string(created.Data))
		id := sim.Tasks()[0].ID
		for range 2 {
			time.Sleep(200 * time.Second)
			synctest.Wait()
			var found []json.RawMessage
			for _, got := range []answer{sim.get("/tasks?task_ids=" + id), sim.get("/solutions?task_ids=" + id)} {
				if err := json.Unmarshal(got.Data, &found); err != nil {
					t.Fatal(err)
				}
				for _, object := range found {
					sent[klingtest.RenderedQuery] = append(sent[klingtest.RenderedQuery], string(object))
				}
			}
			var p page
			if err := json.Unmarshal(sim.post("/tasks", `{}`).Data, &p); err != nil {
				t.Fatal(err)
			}
			sent[klingtest.RenderedList] = append(sent[klingtest.RenderedList], string(p.Result))
		}
		for _, c := range calls.received() {
			sent[klingtest.RenderedCallback] = append(sent[klingtest.RenderedCallback], string(c.body))
		}
	})
	return sent
}

const jobWithCallback = `{"prompt":"p","external_task_id":"job-1","callback_url":"` + callbackURL + `"}`

// TestReshape: a script sees each object that is sent and may send another.
func TestReshape(t *testing.T) {
	t.Parallel()
	sent := bodiesOf(t, textToVideo, jobWithCallback, klingtest.Faults{
		OddShape: 1, // is not asked where the script has something to say
		Reshape: func(what klingtest.Rendering, task klingtest.TaskView, object json.RawMessage) json.RawMessage {
			if !json.Valid(object) || !strings.Contains(string(object), task.ID) {
				t.Errorf("asked about %s of task %s", object, task.ID)
			}
			return json.RawMessage(fmt.Sprintf(`{"shown":%q,"status":%q}`, what, task.Status))
		},
	})
	for what, n := range map[klingtest.Rendering]int{
		klingtest.RenderedCreate: 1, klingtest.RenderedQuery: 2, klingtest.RenderedList: 2, klingtest.RenderedCallback: 2,
	} {
		bodies := sent[what]
		if len(bodies) != n || !strings.Contains(bodies[0], fmt.Sprintf(`{"shown":%q`, what)) {
			t.Errorf("%s: %q, want %d of these", what, bodies, n)
		}
		if what != klingtest.RenderedCreate && !strings.Contains(bodies[n-1], `"status":"succeed"}`) {
			t.Errorf("%s ends with %q", what, bodies[n-1])
		}
	}
}

// TestOddShapes: whatever is odd, ids, status and URLs are as without it.
func TestOddShapes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ path, query, body, odd string }{
		{textToVideo, "/v1/videos/text2video/", `{"prompt":"p"}`,
			"created_at final_unit_deduction outputs+task_result task_info task_result task_status_msg watermark_info"},
		{textToVideo, "/tasks?task_ids=", `{"prompt":"p"}`, "billing create_time message outputs"},
		{v2Video, "/tasks?task_ids=", `{"prompt":"p"}`, "billing create_time message outputs"},
		{images, "/v1/images/generations/", `{"prompt":"p"}`,
			"created_at final_unit_deduction task_info task_status_msg watermark_info"},
		{subtitles, "/solutions?task_ids=", oneVideo, "billing create_time message outputs"},
	} {
		now := time.Now()
		finished := func(odd float64) (sim api, path string) {
			sim = newAPI(t, klingtest.Options{
				Seed: 1, Faults: klingtest.Faults{OddShape: odd}, Now: func() time.Time { return now },
			})
			sim.post(tt.path, tt.body)
			id := sim.Tasks()[0].ID
			finish(t, sim.Server, id)
			return sim, tt.query + id
		}
		sim, path := finished(0)
		plain := oneObject(t, sim.get(path).Data)
		sim, path = finished(1)
		seen := map[string]bool{}
		for range 80 {
			seen[changed(t, plain, oneObject(t, sim.get(path).Data))] = true
		}
		if got := strings.Join(slices.Sorted(maps.Keys(seen)), " "); got != tt.odd {
			t.Errorf("%s: odd were %q, want %q", path, got, tt.odd)
		}
	}
}

// oneObject returns the task object in the data of a query, in an array or not.
func oneObject(t *testing.T, data json.RawMessage) map[string]json.RawMessage {
	t.Helper()
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(strings.Trim(string(data), "[]")), &object); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return object
}

var links = regexp.MustCompile(`"http[^"]+"`)

// urlsOf returns what URLs there are in a task object, sorted.
func urlsOf(object map[string]json.RawMessage) []string {
	var urls []string
	for _, value := range object {
		urls = append(urls, links.FindAllString(string(value), -1)...)
	}
	slices.Sort(urls)
	return urls
}

// changed names the fields that differ, and sees to it that what must stay has stayed.
func changed(t *testing.T, plain, odd map[string]json.RawMessage) string {
	t.Helper()
	var names []string
	for name, value := range odd {
		if string(plain[name]) != string(value) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range []string{"task_id", "id", "task_status", "status", "external_id"} {
		if string(plain[name]) != string(odd[name]) {
			t.Errorf("%s is %s, and was %s", name, odd[name], plain[name])
		}
	}
	if before, after := urlsOf(plain), urlsOf(odd); !slices.Equal(before, after) || len(before) == 0 {
		t.Errorf("URLs %q, and were %q", after, before)
	}
	return strings.Join(names, "+")
}

// TestThinCallbacks: a success is called back without results, as public reports had it (2026). Queries have them.
func TestThinCallbacks(t *testing.T) {
	t.Parallel()
	for _, path := range []string{textToVideo, v2Video} {
		bodies := map[string]bool{}
		for seed := range uint64(20) {
			synctest.Test(t, func(t *testing.T) {
				calls := &receiver{}
				sim := newAPI(t, klingtest.Options{
					Seed: seed + 1, CallbackHTTP: calls.client(), Faults: klingtest.Faults{ThinCallback: 1},
				})
				id := sim.create(path, `{"prompt":"p","callback_url":"`+callbackURL+`","options":{"callback_url":"`+callbackURL+`"}}`)
				time.Sleep(time.Hour)
				synctest.Wait()
				got := calls.received()
				thin := string(got[len(got)-1].body)
				if len(got) != 2 || strings.Contains(thin, "/files/") || !json.Valid([]byte(thin)) {
					t.Errorf("%s: %d callbacks, the last one %s", path, len(got), thin)
				}
				if outputs := sim.inNewShape("/tasks", id)["outputs"].([]any); len(outputs) != 1 {
					t.Errorf("%s: queried: outputs %v", path, outputs)
				}
				bodies[strings.ReplaceAll(thin, id, "ID")] = true
			})
		}
		if len(bodies) < 5 {
			t.Errorf("%s: only %d thin bodies", path, len(bodies))
		}
	}
}

// TestCallbackBody: a script says what is sent. What fails is never thin.
func TestCallbackBody(t *testing.T) {
	t.Parallel()
	const other = `{"data":{"status":"succeeded"}}`
	oneTask(t, klingtest.Options{
		Fail: func(klingtest.TaskView) (string, bool) { return "no", true },
		Faults: klingtest.Faults{Callback: func(v klingtest.CallbackView) klingtest.CallbackFault {
			if v.Ended() {
				return klingtest.CallbackFault{Thin: true}
			}
			return klingtest.CallbackFault{Body: other, Repeat: 1}
		}},
	}, func(t *testing.T, _ api, got []received) {
		if len(got) != 3 || string(got[0].body) != other || string(got[1].body) != other || got[2].status != "failed" {
			t.Errorf("callbacks %+v", got)
		}
	})
}
