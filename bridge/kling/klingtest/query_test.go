package klingtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

func TestQueryByEitherID(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	const external = "job/1 ü"
	id := sim.create(textToVideo, `{"prompt":"p","external_task_id":"`+external+`"}`)
	for _, segment := range []string{id, url.PathEscape(external)} {
		if got := sim.get(textToVideo + "/" + segment); got.Code != 0 || decode(t, got.Data)["task_id"] != id {
			t.Errorf("by %s: %s", segment, got.Body)
		}
	}
	for _, path := range []string{imageToVideo + "/" + id, textToVideo + "/unknown"} {
		got := sim.get(path) // recorded 2026-07 and 2026-09
		want := "Task not found by id/external id: " + path[strings.LastIndex(path, "/")+1:]
		if got.HTTPStatus != http.StatusBadRequest || got.Code != 1201 || got.Message != want || got.Data != nil {
			t.Errorf("GET %s: %d %s; want 1201 %q", path, got.HTTPStatus, got.Body, want)
		}
	}
}

func TestListPages(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Slots: noLimit()})
	var newestFirst []string
	for range 35 {
		newestFirst = append(newestFirst, sim.create(textToVideo, `{"prompt":"p"}`))
		sim.create(imageToVideo, `{"image":"aGk="}`)
	}
	slices.Reverse(newestFirst)
	for query, want := range map[string][]string{
		"":                        newestFirst[:30],
		"?pageNum=2":              newestFirst[30:],
		"?pageNum=2&pageSize=10":  newestFirst[10:20],
		"?pageSize=500":           newestFirst,
		"?pageNum=9&pageSize=10":  {},
		"?pageNum=&pageSize=1000": nil,
		"?pageSize=501":           nil,
		"?pageNum=0":              nil,
		"?pageNum=1001":           nil,
		"?pageNum=x":              nil,
	} {
		got := sim.get(textToVideo + query)
		if want == nil {
			if got.Code != 1201 {
				t.Errorf("list%s: %s; want 1201", query, got.Body)
			}
			continue
		}
		if ids := taskIDs(t, got.Data, "task_id"); !slices.Equal(ids, want) {
			t.Errorf("list%s: %d tasks %v, want %d", query, len(ids), ids, len(want))
		}
	}
	if got := sim.get("/v1/general/custom-voices?pageSize=1000"); got.Code != 0 {
		t.Errorf("custom voices by the thousand: %s", got.Body)
	}
}

func taskIDs(t *testing.T, list json.RawMessage, name string) []string {
	t.Helper()
	var objects []map[string]any
	if err := json.Unmarshal(list, &objects); err != nil || objects == nil {
		t.Fatalf("list %s: %v", list, err)
	}
	var ids []string
	for _, o := range objects {
		ids = append(ids, o[name].(string))
	}
	return ids
}

func TestQueryTasks(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	first := sim.create(v2Video, `{"prompt":"p","options":{"external_task_id":"job-1"}}`)
	second := sim.create(v2Video, `{"prompt":"p","options":{"external_task_id":"job-2"}}`)
	older := sim.create(textToVideo, `{"prompt":"p","external_task_id":"job-3"}`)
	for query, want := range map[string][]string{
		"task_ids=" + second + "," + first + ",1," + older: {second, first, older}, // both generations (recorded 2026-09)
		"external_task_ids=job-1,job-3":                    {first, older},
		"external_task_ids=" + first:                       nil,
		"task_ids=nobody":                                  nil,
	} {
		if got := taskIDs(t, sim.get("/tasks?"+query).Data, "id"); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	for _, query := range []string{"", "?task_ids=", "?task_ids=1&external_task_ids=job-1"} {
		got := sim.get("/tasks" + query)
		if got.HTTPStatus != http.StatusBadRequest || got.Code != 1201 ||
			got.Message != "task_ids or external_task_ids is required" {
			t.Errorf("GET /tasks%s: %d %s", query, got.HTTPStatus, got.Body)
		}
	}
}

type page struct {
	Result     json.RawMessage
	Count      int
	NextCursor string `json:"next_cursor"`
	HasMore    bool   `json:"has_more"`
}

func (a api) page(t *testing.T, body string) (page, []string) {
	t.Helper()
	return a.pageOf(t, "/tasks", body)
}

func (a api) pageOf(t *testing.T, path, body string) (page, []string) {
	t.Helper()
	var p page
	if err := json.Unmarshal(a.post(path, body).Data, &p); err != nil {
		t.Fatalf("POST %s %s: %v", path, body, err)
	}
	return p, taskIDs(t, p.Result, "id")
}

func TestTaskPages(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	var newestFirst []string
	for i := range 5 {
		path := []string{v2Video, textToVideo}[i%2] // both generations are in it (recorded 2026-09)
		newestFirst = append(newestFirst, sim.create(path, `{"prompt":"p"}`))
		sim.create(subtitles, oneVideo)
	}
	slices.Reverse(newestFirst)
	var got []string
	cursor := ""
	for pages := 1; ; pages++ {
		p, ids := sim.page(t, fmt.Sprintf(`{"limit":2,"cursor":%q}`, cursor))
		got = append(got, ids...)
		if p.Count != len(ids) || p.HasMore != (pages < 3) {
			t.Fatalf("page %d: %+v", pages, p)
		}
		if !p.HasMore {
			break
		}
		cursor = p.NextCursor
	}
	if !slices.Equal(got, newestFirst) {
		t.Errorf("pages %v, want %v", got, newestFirst)
	}
}

func TestTaskPageFilters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := newAPI(t, klingtest.Options{})
		old := sim.create(v2Video, `{"prompt":"p"}`)
		finish(t, sim.Server, old)
		time.Sleep(time.Hour)
		hour := strconv.FormatInt(time.Now().UnixMilli(), 10)
		recent := sim.create(v2Video, `{"prompt":"p"}`)
		for body, want := range map[string][]string{
			`{}`:                            {recent, old},
			`{"start_time":"` + hour + `"}`: {recent},
			`{"start_time":` + hour + `}`:   {recent}, // both were taken (recorded 2026-09)
			`{"end_time":` + hour + `}`:     {recent, old},
			`{"filters":[{"key":"status","values":["succeeded","failed"]}]}`: {old},
			`{"filters":[{"key":"product_type","values":["video"]}]}`:        {recent, old},
			`{"filters":[{"key":"product_type","values":["image"]}]}`:        nil,
		} {
			if _, got := sim.page(t, body); !slices.Equal(got, want) {
				t.Errorf("%s: %v, want %v", body, got, want)
			}
		}
		for _, body := range []string{
			`{"limit":501}`, `{"limit":0}`, `{"start_time":true}`, `{"end_time":"x"}`, `{"cursor":"x"}`,
			`{"filters":[{"key":"model"}]}`,
		} {
			sim.refused("/tasks", body, http.StatusBadRequest, 1201)
		}
		time.Sleep(31 * 24 * time.Hour)
		if _, got := sim.page(t, `{}`); got != nil {
			t.Errorf("after a month: %v", got)
		}
	})
}

func TestQueryLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := newAPI(t, klingtest.Options{QueryLag: 20 * time.Second, Speed: 2})
		v1 := sim.create(textToVideo, `{"prompt":"p"}`)
		v2 := sim.create(v2Video, `{"prompt":"p"}`)
		known := func() string {
			_, page := sim.page(t, `{}`)
			return fmt.Sprint(sim.get(textToVideo+"/"+v1).Code, len(taskIDs(t, sim.get(textToVideo).Data, "task_id")),
				len(taskIDs(t, sim.get("/tasks?task_ids="+v2).Data, "id")), len(page))
		}
		time.Sleep(10*time.Second - time.Millisecond)
		if got := known(); got != "1201 0 0 0" {
			t.Errorf("before the lag is over: %s", got)
		}
		time.Sleep(time.Millisecond)
		if got := known(); got != "0 1 1 2" {
			t.Errorf("after the lag: %s", got)
		}
		sim.refused(textToVideo, `{"prompt":"p","external_task_id":5}`, http.StatusBadRequest, 1201)
	})
}

func TestAccountCosts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := newAPI(t, klingtest.Options{})
		const path = "/account/costs?start_time=1790000000000&end_time=1790000000001"
		got := sim.get(path)
		if got.Code != 0 || !strings.Contains(got.Body, `"resource_pack_subscribe_infos":[{`) ||
			!strings.Contains(got.Body, `"status":"online"`) {
			t.Errorf("costs: %s", got.Body)
		}
		time.Sleep(time.Second - time.Nanosecond)
		if got := sim.get(path); got.HTTPStatus != http.StatusTooManyRequests || got.Code != 1302 {
			t.Errorf("twice in a second: %d %s", got.HTTPStatus, got.Body)
		}
		time.Sleep(time.Nanosecond)
		if got := sim.get(path); got.Code != 0 {
			t.Errorf("a second later: %s", got.Body)
		}
		if got := sim.get("/account/costs?start_time=yesterday"); got.Code != 1201 {
			t.Errorf("without times: %s", got.Body)
		}
	})
}

// TestQueryBesideTheEnd reads tasks at the moment they fail: the race detector sees to it that an answer is a copy.
func TestQueryBesideTheEnd(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Slots: noLimit()})
	var finishing sync.WaitGroup
	for range 100 {
		id := sim.create(textToVideo, `{"prompt":"fail: no luck"}`)
		finishing.Go(func() {
			if err := sim.Finish(id); err != nil {
				t.Error(err)
			}
		})
		sim.get(textToVideo + "/" + id)
	}
	finishing.Wait()
}

// TestForgottenTasks asks a simulation for tasks of the one before it.
func TestForgottenTasks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		before := newAPI(t, klingtest.Options{})
		old := before.create(textToVideo, `{"prompt":"p"}`)
		oldV2 := before.create(v2Video, `{"prompt":"p"}`)
		time.Sleep(time.Minute)
		sim := newAPI(t, klingtest.Options{EndForgotten: true})
		own := sim.create(textToVideo, `{"prompt":"p"}`)

		got := sim.get(textToVideo + "/" + old)
		task := decode(t, got.Data)
		if task["task_id"] != old || task["task_status"] != "failed" || task["task_status_msg"] == "" || task["final_unit_deduction"] != "0" {
			t.Errorf("got %s", got.Body)
		}
		if got := sim.get("/tasks?task_ids=" + oldV2); !strings.Contains(string(got.Data), `"status":"failed"`) {
			t.Errorf("got %s", got.Body)
		}
		if got := sim.get(textToVideo + "/" + own); decode(t, got.Data)["task_status"] != "submitted" {
			t.Errorf("its own: %s", got.Body)
		}
		for _, id := range []string{"unknown", "7", own + "0"} {
			if got := sim.get(textToVideo + "/" + id); got.Code != 1201 {
				t.Errorf("%s: %s", id, got.Body)
			}
		}
		if got := before.get(textToVideo + "/7"); got.Code != 1201 {
			t.Errorf("without the option: %s", got.Body)
		}
		time.Sleep(31 * 24 * time.Hour)
		if got := sim.get(textToVideo + "/" + old); got.Code != 1201 {
			t.Errorf("after a month: %s", got.Body)
		}
	})
}
