package klingtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// TestPages looks at answers that are not Kling's.
func TestPages(t *testing.T) {
	t.Parallel()
	for fault, want := range map[klingtest.Fault]struct {
		status      int
		contentType string
		location    string
		part        string
		stored      int
	}{
		klingtest.Page{}: {403, "text/html", "", "<title>403 Forbidden</title>", 0},
		klingtest.Page{HTTPStatus: 200, Title: "Just a <moment>"}:      {200, "text/html", "", "<title>Just a &lt;moment&gt;</title>", 0},
		klingtest.Page{HTTPStatus: 400, Title: "No", AfterStore: true}: {400, "text/html", "", "<title>No</title>", 1},
		klingtest.Raw{HTTPStatus: 403, Body: `{"error":"insufficient_user_quota"}`}: {
			403, "application/json", "", `{"error":"insufficient_user_quota"}`, 0,
		},
		klingtest.Raw{Body: `{}`, AfterStore: true}: {200, "application/json", "", `{}`, 1},
		klingtest.Raw{HTTPStatus: 302, ContentType: "text/html", Location: "https://login.invalid/"}: {
			302, "text/html", "https://login.invalid/", "", 0,
		},
		klingtest.Gone1201:         {400, "application/json", "", `"message":"This API is no longer available"`, 0},
		klingtest.ExistsAfterStore: {400, "application/json", "", `"message":"External_task_id job-1 already exists"`, 1},
	} {
		sim := newAPI(t, klingtest.Options{Faults: klingtest.Faults{
			Create: func(klingtest.CreateView) klingtest.Fault { return fault },
		}})
		got := sim.post(textToVideo, `{"prompt":"p","external_task_id":"job-1"}`)
		if got.HTTPStatus != want.status || got.Header.Get("Content-Type") != want.contentType ||
			got.Header.Get("Location") != want.location || !strings.Contains(got.Body, want.part) ||
			got.Header.Get("X-Kling-Simulated") != "true" {
			t.Errorf("%v: %d %v %q; want %+v", fault, got.HTTPStatus, got.Header, got.Body, want)
		}
		if n := len(sim.Tasks()); n != want.stored {
			t.Errorf("%v: %d tasks stored, want %d", fault, n, want.stored)
		}
	}
}

func TestEdge(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	id := sim.create(textToVideo, `{"prompt":"p"}`)
	sim.SetEdge(&klingtest.Edge{
		Answer: klingtest.Page{Title: "Attention Required!"},
		Spares: func(route klingtest.Route, kind string) bool {
			return kind == "image2video" || route == klingtest.RouteTasks
		},
	})
	for _, got := range []answer{
		sim.post(textToVideo, `{"prompt":"p"}`), sim.get(textToVideo + "/" + id), sim.get(textToVideo), sim.post("/tasks", `{}`),
		sim.get("/nothing"), sim.get("/account/costs?start_time=1&end_time=2"),
	} {
		if got.HTTPStatus != http.StatusForbidden || !strings.Contains(got.Body, "<title>Attention Required!</title>") {
			t.Errorf("behind the edge: %d %s", got.HTTPStatus, got.Body)
		}
	}
	sim.create(imageToVideo, `{"image":"aGk="}`)
	sim.inNewShape("/tasks", id)
	if n := sim.Calls().Creates; n != 3 || len(sim.Tasks()) != 2 {
		t.Errorf("%d creates counted, %d tasks; want 3 and 2", n, len(sim.Tasks()))
	}
	sim.SetEdge(nil)
	sim.create(textToVideo, `{"prompt":"p"}`)
	if v := sim.Violations(); len(v) > 0 {
		t.Errorf("violations %q", v)
	}
}

func TestRetiredRoute(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	const path = "/v1/videos/multi-image2video"
	id := sim.create(path, `{}`)
	sim.SetRetired("multi-image2video", klingtest.HTML404)
	if got := sim.post(path, `{}`); got.HTTPStatus != http.StatusNotFound || !strings.HasPrefix(got.Body, "<html>") {
		t.Errorf("retired: %d %s", got.HTTPStatus, got.Body)
	}
	sim.SetRetired("multi-image2video", klingtest.Gone1201)
	sim.refused(path, `not even JSON`, http.StatusBadRequest, 1201)
	if got := sim.get(path + "/" + id); got.Code != 0 {
		t.Errorf("a task of before: %s", got.Body)
	}
	sim.create(textToVideo, `{"prompt":"p"}`)
	sim.SetRetired("multi-image2video", nil)
	sim.create(path, `{}`)
}

// TestQueryViewTellsTheTasks: who scripts a fault of GET /tasks can do so by kind.
func TestQueryViewTellsTheTasks(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Faults: klingtest.Faults{Query: func(v klingtest.QueryView) klingtest.Fault {
		if v.Route == klingtest.RouteTasks && v.Tasks[0].Kind.Name == "image2video" {
			return klingtest.Page{HTTPStatus: http.StatusNotFound}
		}
		return nil
	}}})
	one := sim.create(textToVideo, `{"prompt":"p"}`)
	other := sim.create(imageToVideo, `{"image":"aGk=","external_task_id":"job-1"}`)
	if got := sim.get("/tasks?task_ids=1," + one); got.Code != 0 || got.HTTPStatus != http.StatusOK {
		t.Errorf("%d %s", got.HTTPStatus, got.Body)
	}
	for _, query := range []string{"task_ids=" + other, "external_task_ids=job-1"} {
		if got := sim.get("/tasks?" + query); got.HTTPStatus != http.StatusNotFound {
			t.Errorf("%s: %d %s", query, got.HTTPStatus, got.Body)
		}
	}
}

func TestEdgeDice(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Slots: noLimit(), Faults: klingtest.Faults{EdgePage: 1}})
	seen := map[int]bool{}
	for range 100 {
		got := sim.post(textToVideo, `{"prompt":"p"}`)
		seen[got.HTTPStatus] = true
		if got.RequestID != "" {
			t.Fatalf("an answer of Kling's: %s", got.Body)
		}
	}
	for _, status := range []int{200, 302, 400, 403, 404} {
		if !seen[status] {
			t.Errorf("no answer %d in 100", status)
		}
	}
	if n := len(sim.Tasks()); n != 0 {
		t.Errorf("%d tasks stored", n)
	}
}

func TestKnownIDDice(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Faults: klingtest.Faults{KnownID: 1}})
	sim.create(textToVideo, `{"prompt":"p"}`)
	sim.refused(textToVideo, `{"prompt":"p","external_task_id":"job-1"}`, http.StatusBadRequest, 1201)
	if _, stored := sim.Task("job-1"); !stored {
		t.Error("no task stored")
	}
}
