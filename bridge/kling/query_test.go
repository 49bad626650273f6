package kling_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

func TestQuery(t *testing.T) {
	t.Parallel()
	const id, externalID, idV2, externalIDV2 = "871000000000000101", "job-7f3a-1", "933000000000000274", "job-9c2"
	const avatarPath = "/v1/videos/avatar/image2video/"
	byID := func(k kling.Kind, id string) func(*kling.Client) (kling.Task, error) {
		return func(c *kling.Client) (kling.Task, error) { return c.Query(t.Context(), k, id) }
	}
	byExternal := func(k kling.Kind, id string) func(*kling.Client) (kling.Task, error) {
		return func(c *kling.Client) (kling.Task, error) { return c.QueryExternal(t.Context(), k, id) }
	}
	running, finished := string(golden(t, "query_running")), string(golden(t, "query_finished"))
	bulk := string(golden(t, "query_tasks"))
	v1, v2 := kind(t, "avatar"), kind(t, "omni-video")
	array := `{"code":0,"data":[{"task_id":"7","task_status":"failed"},
		{"task_id":"871000000000000101","task_status":"succeed","task_info":{"external_task_id":"job-7f3a-1"}}]}`
	number := `{"code":0,"data":{"task_id":871000000000000101,"task_status":"succeed","task_info":{}}}`
	tests := map[string]struct {
		query  func(*kling.Client) (kling.Task, error)
		answer string
		uri    string
		id     string
		status kling.Status
	}{
		"v1 running":  {byID(v1, id), running, avatarPath + id, id, kling.StatusProcessing},
		"v1 finished": {byID(v1, id), finished, avatarPath + id, id, kling.StatusSucceed},
		"v1 external": {byExternal(v1, externalID), finished, avatarPath + externalID, id, kling.StatusSucceed},
		"v1 array":    {byID(v1, id), array, avatarPath + id, id, kling.StatusSucceed},
		"v1 array, external": {
			byExternal(v1, externalID), array, avatarPath + externalID, id, kling.StatusSucceed,
		},
		"v1 number, external id not echoed": {
			byExternal(v1, externalID), number, avatarPath + externalID, id, kling.StatusSucceed,
		},
		"v1 external, escaped": {byExternal(v1, "a/b c?%"), number, avatarPath + "a%2Fb%20c%3F%25", id, kling.StatusSucceed},
		"v1 external, dots":    {byExternal(v1, ".."), number, avatarPath + "%2E%2E", id, kling.StatusSucceed},
		"v2":                   {byID(v2, idV2), bulk, "/tasks?task_ids=" + idV2, idV2, kling.StatusFailed},
		"v2 external": {
			byExternal(v2, externalIDV2), bulk, "/tasks?external_task_ids=job-9c2", idV2, kling.StatusFailed,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method != http.MethodGet || r.RequestURI != test.uri {
					t.Errorf("got %s %s, want GET %s", r.Method, r.RequestURI, test.uri)
				}
				_, _ = io.WriteString(w, test.answer)
			})
			got, err := test.query(client)
			if err != nil {
				t.Fatal(err)
			}
			if got.ID != test.id || got.Status != test.status || !json.Valid(got.Raw) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestFinishedQuery(t *testing.T) {
	t.Parallel()
	client := newClient(t, respond(http.StatusOK, string(golden(t, "query_finished"))))
	got, err := client.Query(t.Context(), kind(t, "text2video"), "871000000000000101")
	if err != nil {
		t.Fatal(err)
	}
	want := []kling.Video{{
		ID: "871000000000000777",
		URL: "https://v15-kling-fdl.klingai.com/bs2/x/VIDEO/20260401/a.mp4?cacheKey=Q2h%2Fbw&x-kcdn-pid=112781" +
			"&Expires=1777592229&Signature=ab~c-d__&Key-Pair-Id=K0",
		Duration: "5.1",
	}}
	if diff := cmp.Diff(want, got.Videos); diff != "" || got.Units != "3" {
		t.Errorf("units %q, videos (-want +got):\n%s", got.Units, diff)
	}
}

func TestFailedTaskIsNoFailedQuery(t *testing.T) {
	t.Parallel()
	client := newClient(t, respond(http.StatusOK, string(golden(t, "query_failed"))))
	got, err := client.Query(t.Context(), kind(t, "text2video"), "871000000000000102")
	if err != nil || got.Status != kling.StatusFailed || got.Message != "Image pixel is invalid" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestQueryNotFound(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		status   int
		body     string
		notFound bool
	}{
		"404 with 1203":    {404, `{"code":1203,"message":"task not found"}`, true},
		"400 with 1201":    {400, `{"code":1201,"message":"Task not found by id/external id: 1"}`, true}, // recorded 2026-09
		"a retired route":  {400, `{"code":1201,"message":"This API is no longer available"}`, false},    // recorded 2026-09
		"a bad value":      {400, `{"code":1201,"message":"task id is invalid"}`, false},
		"no data":          {200, `{"code":0,"message":"SUCCEED"}`, true},
		"null":             {200, `{"code":0,"data":null}`, true},
		"an empty array":   {200, `{"code":0,"data":[]}`, true},
		"an empty object":  {200, `{"code":0,"data":{}}`, true},
		"another task":     {200, `{"code":0,"data":{"task_id":"2","task_info":{"external_task_id":"job-2"}}}`, false},
		"a broken task":    {200, `{"code":0,"data":[{"task_id":{}}]}`, false},
		"a task of no id":  {200, `{"code":0,"data":{"task_status":"succeed"}}`, false},
		"data is text":     {200, `{"code":0,"data":"none"}`, false},
		"no envelope":      {200, `{}`, false},
		"404 from a proxy": {404, `<html>Not Found</html>`, false},
		"bad gateway":      {502, `<html>Bad Gateway</html>`, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, respond(test.status, test.body))
			for _, k := range []kling.Kind{kind(t, "text2video"), kind(t, "text-to-video")} {
				_, err := client.Query(t.Context(), k, "1")
				if e := failure(t, err); e.NotFound != test.notFound || e.Action == kling.ActionLookup {
					t.Errorf("%s by id: %v is not found %t, %s", k.Name, e, e.NotFound, e.Action)
				}
				_, err = client.QueryExternal(t.Context(), k, "job-1")
				if e := failure(t, err); e.NotFound != test.notFound || e.Action == kling.ActionLookup {
					t.Errorf("%s by external id: %v is not found %t, %s", k.Name, e, e.NotFound, e.Action)
				}
			}
		})
	}
}

func TestQueryWantsAnID(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(_ http.ResponseWriter, r *http.Request) { t.Errorf("got %s", r.RequestURI) })
	_, err := client.QueryExternal(t.Context(), kind(t, "text2video"), "")
	if e := failure(t, err); e.Action != kling.ActionReject || e.NotFound {
		t.Errorf("got %s, not found %t: %v", e.Action, e.NotFound, e)
	}
	if tasks, err := client.QueryTasks(t.Context(), kling.V2, nil); err != nil || tasks != nil {
		t.Errorf("no ids: got %v, %v", tasks, err)
	}
}

func TestList(t *testing.T) {
	t.Parallel()
	const page = `{"code":0,"data":[{"task_id":"1","task_status":"succeed"},{"task_id":{}},null,
		{"task_id":"3","task_status":"failed"}]}`
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if want := "/v1/images/generations?pageNum=2&pageSize=500"; r.RequestURI != want {
			t.Errorf("got %s, want %s", r.RequestURI, want)
		}
		_, _ = io.WriteString(w, page)
	})
	tasks, err := client.List(t.Context(), kind(t, "image-generations"), 2, 500)
	if err != nil || len(tasks) != 2 || tasks[0].ID != "1" || tasks[1].ID != "3" {
		t.Errorf("got %+v, %v", tasks, err)
	}
	_, err = client.List(t.Context(), kind(t, "text-to-video"), 1, 500)
	if e := failure(t, err); e.Action != kling.ActionReject {
		t.Errorf("v2 kind: got %s: %v", e.Action, e)
	}
}

func TestListThatIsNone(t *testing.T) {
	t.Parallel()
	client := newClient(t, respond(http.StatusOK, `{"code":0,"data":{"count":3,"id":[]}}`))
	if _, err := client.List(t.Context(), kind(t, "text2video"), 1, 30); !errors.Is(err, kling.ErrMalformed) {
		t.Errorf("got %v, want ErrMalformed", err)
	}
}

func TestQueryTasks(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if want := "/tasks?task_ids=933000000000000273,933000000000000274,a%2Cb%26c"; r.RequestURI != want {
			t.Errorf("got %s, want %s", r.RequestURI, want)
		}
		_, _ = w.Write(golden(t, "query_tasks"))
	})
	tasks, err := client.QueryTasks(t.Context(), kling.V2, []string{"933000000000000273", "933000000000000274", "a,b&c"})
	if err != nil || len(tasks) != 2 {
		t.Fatalf("got %+v, %v", tasks, err)
	}
	if tasks[0].Units != "3" || tasks[1].Units != "0" || kling.ClassifyFailure(tasks[1]) != kling.ClassPolicy {
		t.Errorf("got %+v", tasks)
	}
}
