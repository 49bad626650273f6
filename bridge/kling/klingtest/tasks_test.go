package klingtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

const (
	tryOn     = "/solutions/virtual_try_on"
	subtitles = "/solutions/drama_subtitle"
	clothing  = "/solutions/e-commerce/clothing_dupe"
	oneVideo  = `{"contents":[{"type":"video","url":"https://x.test/a.mp4"}]}`
)

// inNewShape returns the one task with that id that a surface of the newer shape knows.
func (a api) inNewShape(path, id string) map[string]any {
	a.t.Helper()
	var tasks []json.RawMessage
	if err := json.Unmarshal(a.get(path+"?task_ids="+id).Data, &tasks); err != nil || len(tasks) != 1 {
		a.t.Fatalf("GET %s: %d tasks with id %s, %v", path, len(tasks), id, err)
	}
	return decode(a.t, tasks[0])
}

// TestTwentyIDs: more were refused with this text, 20 were answered (recorded 2026-09).
func TestTwentyIDs(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	for _, path := range []string{"/tasks", "/solutions"} {
		for _, param := range []string{"task_ids", "external_task_ids"} {
			query := path + "?" + param + "=" + strings.Repeat("a,", 19) + "a"
			if got := sim.get(query); got.Code != 0 || string(got.Data) != "[]" {
				t.Errorf("GET %s: %s", query, got.Body)
			}
			got := sim.get(query + ",a")
			if got.HTTPStatus != http.StatusBadRequest || got.Code != 1201 || got.Data != nil ||
				got.Message != "task_ids and external_task_ids cannot exceed 20 in total" {
				t.Errorf("GET %s with one more: %d %s", query, got.HTTPStatus, got.Body)
			}
		}
	}
}

// TestReusedExternalID: an account has each once, over kinds, generations and ends (recorded 2026-09).
func TestReusedExternalID(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	finish(t, sim.Server, sim.create(textToVideo, `{"prompt":"fail: no","external_task_id":"job-1"}`))
	for path, body := range map[string]string{
		textToVideo: `{"prompt":"p","external_task_id":"job-1"}`,
		images:      `{"prompt":"p","external_task_id":"job-1"}`,
		v2Video:     `{"prompt":"p","options":{"external_task_id":"job-1"}}`,
		clothing:    `{"contents":[{"type":"image"}],"options":{"external_task_id":"job-1"}}`,
	} {
		got := sim.post(path, body)
		if got.HTTPStatus != http.StatusBadRequest || got.Code != 1201 || got.Data != nil ||
			got.Message != "External_task_id job-1 already exists" {
			t.Errorf("POST %s: %d %s", path, got.HTTPStatus, got.Body)
		}
	}
	if n := len(sim.Tasks()); n != 1 {
		t.Errorf("%d tasks, want one", n)
	}
}

// TestKnownIDsTaken: a simulation can be told to make a second task, to show who relies on Kling's refusal.
func TestKnownIDsTaken(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{TakesKnownIDs: true})
	first := sim.create(textToVideo, `{"prompt":"p","external_task_id":"job-1"}`)
	if second := sim.create(textToVideo, `{"prompt":"p","external_task_id":"job-1"}`); second == first || len(sim.Tasks()) != 2 {
		t.Errorf("tasks %s and %s of %d, want two", first, second, len(sim.Tasks()))
	}
}

// TestOlderTasksTranslated looks at tasks of v1 where those of v2 are asked for (recorded 2026-09).
func TestOlderTasksTranslated(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	for _, tt := range []struct{ path, body, want string }{
		{textToVideo, `{"prompt":"p","external_task_id":"a"}`, "video id url duration"},
		{images, `{"prompt":"p","external_task_id":"b"}`, "image url"},
		{"/v1/images/omni-image", `{"prompt":"p","series_amount":2,"external_task_id":"c"}`, "image group_id url"},
		{"/v1/audio/text-to-audio", `{"prompt":"p","external_task_id":"d"}`, "audio id mp3_url wav_url duration"},
		{"/v1/general/custom-voices", `{"external_task_id":"e"}`, "voice id url"},
	} {
		path := tt.path
		id := sim.create(path, tt.body)
		running := sim.inNewShape("/tasks", id)
		if running["status"] != "submitted" || len(running["outputs"].([]any)) != 0 || running["billing"] != nil {
			t.Errorf("%s: running task %v", path, running)
		}
		finish(t, sim.Server, id)
		got := sim.inNewShape("/tasks", id)
		output := got["outputs"].([]any)[0].(map[string]any)
		parts := []string{output["type"].(string)}
		for _, name := range []string{"id", "group_id", "url", "mp3_url", "wav_url", "duration"} {
			if output[name] != nil {
				parts = append(parts, name)
			}
		}
		if made := strings.Join(parts, " "); made != tt.want || got["status"] != "succeeded" || got["task_info"] != nil ||
			got["external_id"] == nil || len(got["billing"].([]any)) != 1 {
			t.Errorf("%s: %q in %v, want %q", path, made, got, tt.want)
		}
		old := decode(t, sim.get(path+"/"+id).Data)
		if old["task_status"] != "succeed" || old["task_result"] == nil {
			t.Errorf("%s: in its own shape %v", path, old)
		}
	}
	if _, ids := sim.page(t, `{"filters":[{"key":"status","values":["succeeded"]}]}`); len(ids) != 5 {
		t.Errorf("%d succeeded, want 5", len(ids))
	}
}

// TestSolutionsHaveTheirOwnSurface (Kling's solution pages, 2026-09).
func TestSolutionsHaveTheirOwnSurface(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	const body = `{"contents":[{"type":"image"}],"options":{"external_task_id":%q}}`
	created := decode(t, sim.post(tryOn, fmt.Sprintf(body, "fit")).Data)
	id := created["task_id"].(string)
	want := map[string]any{
		"task_id": id, "status": "submitted", "create_time": created["create_time"], "external_id": "fit",
	}
	if diff := cmp.Diff(want, created); diff != "" {
		t.Errorf("the answer to a try-on's creation (-want +got):\n%s", diff)
	}
	other := sim.create(clothing, fmt.Sprintf(body, "dress"))
	video := sim.create(v2Video, `{"prompt":"p"}`)
	finish(t, sim.Server, id)
	finish(t, sim.Server, other)
	if got := sim.inNewShape("/solutions", id)["status"]; got != "succeed" {
		t.Errorf("a try-on ends as %v, want succeed", got)
	}
	if got := sim.inNewShape("/solutions", other)["status"]; got != "succeeded" {
		t.Errorf("clothing ends as %v, want succeeded", got)
	}
	for path, want := range map[string][]string{
		"/solutions?external_task_ids=dress,fit":            {other, id},
		"/solutions?task_ids=" + video:                      nil,
		"/tasks?task_ids=" + id + "," + other + "," + video: {video},
		"/tasks?external_task_ids=dress":                    nil,
	} {
		if got := taskIDs(t, sim.get(path).Data, "id"); !slices.Equal(got, want) {
			t.Errorf("GET %s: %v, want %v", path, got, want)
		}
	}
	for body, want := range map[string][]string{
		`{}`:           {other, id},
		`{"limit":0}`:  {other},
		`{"limit":-7}`: {other},
		`{"filters":[{"key":"status","values":["succeed"]}]}`: {id},
	} {
		if _, got := sim.pageOf(t, "/solutions", body); !slices.Equal(got, want) {
			t.Errorf("POST /solutions %s: %v, want %v", body, got, want)
		}
	}
	sim.refused("/solutions", `{"limit":501}`, http.StatusBadRequest, 1201)
	sim.refused("/solutions", `{"filters":[{"key":"product_type","values":["video"]}]}`, http.StatusBadRequest, 1201)
	if got := sim.get(tryOn + "/" + id); got.HTTPStatus != http.StatusNotFound {
		t.Errorf("a query as of the older generation: %d %s", got.HTTPStatus, got.Body)
	}
}

// TestSolutionsCallBack: each page says something else of when (Kling's solution pages, 2026-09).
func TestSolutionsCallBack(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		tryOn: "succeed", subtitles: "succeeded", clothing: "submitted processing succeeded",
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := &receiver{}
			sim := newAPI(t, klingtest.Options{CallbackHTTP: calls.client(), Callbacks: klingtest.AllChanges})
			sim.create(path, `{"contents":[{"type":"image"}],"options":{"callback_url":"`+callbackURL+`"}}`)
			time.Sleep(time.Hour)
			synctest.Wait()
			if got := statuses(calls.received()); got != want {
				t.Errorf("%s: callbacks %q, want %q", path, got, want)
			}
		})
	}
}

// TestSubtitles: a solution's outputs have no id, and its files are served.
func TestSubtitles(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	id := sim.create(subtitles, oneVideo)
	finish(t, sim.Server, id)
	for i, want := range []string{"video/mp4", "application/x-subrip", "text/x-ssa"} {
		output := sim.inNewShape("/solutions", id)["outputs"].([]any)[i].(map[string]any)
		got := sim.file(http.MethodGet, output["url"].(string))
		if got.HTTPStatus != http.StatusOK || got.Header.Get("Content-Type") != want || output["id"] != nil ||
			(output["duration"] != nil) != (i == 0) {
			t.Errorf("%v: %d %v", output, got.HTTPStatus, got.Header)
		}
	}
}
