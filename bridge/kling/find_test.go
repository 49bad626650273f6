package kling_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// said is an answer of a query surface.
type said struct {
	status int
	body   string
}

var (
	knowsTask = said{200, `{"code":0,"data":[{"id":"7","status":"succeeded","external_id":"job-1"}]}`}
	// The recorded denials of 2026-09: of a V1 kind, and of GET /tasks.
	deniesV1 = said{400, `{"code":1201,"message":"Task not found by id/external id: job-1"}`}
	deniesV2 = said{200, `{"code":0,"message":"SUCCEED","data":[]}`}
	// Recorded of a V1 kind in 2026-09; its HTTP status was not.
	retired = said{400, `{"code":1201,"message":"This API is no longer available"}`}
	page404 = said{404, `<html><head><title>404 Not Found</title></head></html>`}
	broken  = said{500, `{"code":5000,"message":"internal error"}`}
)

// TestFindExternal asks for a task where the kind's own query and GET /tasks each know it, deny it or don't answer.
func TestFindExternal(t *testing.T) {
	t.Parallel()
	const found, denied, unknown = "found", "denied", "unknown"
	tests := map[string]struct {
		own, tasks said // of the kind's query and of GET /tasks
		want       string
		calls      int
	}{
		"known by the kind":                  {knowsTask, broken, found, 1},
		"known elsewhere":                    {deniesV1, knowsTask, found, 2},
		"known elsewhere, route retired":     {retired, knowsTask, found, 2},
		"known elsewhere, route gone":        {page404, knowsTask, found, 2},
		"denied by both":                     {deniesV1, deniesV2, denied, 2},
		"denied by the kind, other unserved": {deniesV1, page404, denied, 2},
		"denied by the kind, other broken":   {deniesV1, broken, unknown, 2},
		"denied elsewhere, route retired":    {retired, deniesV2, unknown, 2},
		"kind's query broken":                {broken, knowsTask, unknown, 1},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			calls := 0
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				calls++
				answer := test.own
				if strings.HasPrefix(r.RequestURI, "/tasks?") {
					answer = test.tasks
				}
				w.WriteHeader(answer.status)
				_, _ = io.WriteString(w, answer.body)
			})
			for _, find := range []func() (kling.Task, error){
				func() (kling.Task, error) { return client.FindExternal(t.Context(), kind(t, "avatar"), "job-1") },
				func() (kling.Task, error) { return client.Find(t.Context(), kind(t, "avatar"), "7") },
			} {
				calls = 0
				task, err := find()
				got := found
				if err != nil {
					got = unknown
					if failure(t, err).NotFound {
						got = denied
					}
				}
				if got != test.want || got == found && task.ID != "7" || calls != test.calls {
					t.Errorf("%s after %d calls, want %s after %d: %+v, %v", got, calls, test.want, test.calls, task, err)
				}
			}
		})
	}
}

// TestFindExternalWithAPair has credentials that GET /tasks refuses: what the kind's query says is all there is.
func TestFindExternalWithAPair(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.RequestURI, "/tasks") {
			t.Errorf("got %s", r.RequestURI)
		}
		respond(deniesV1.status, deniesV1.body)(w, r)
	}, func(o *kling.Options) { o.Credentials = kling.Credentials{AccessKey: "access", SecretKey: "secret"} })
	_, err := client.FindExternal(t.Context(), kind(t, "avatar"), "job-1")
	if e := failure(t, err); !e.NotFound {
		t.Errorf("no denial: %v", err)
	}
}
