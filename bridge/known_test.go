package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestKnownExternalID has a task at Kling whose request nothing is known of, as after a purge or with a restored store:
// the first create is answered that its external id exists (recorded 2026-09-22, in both generations). The task is found,
// by GET /tasks where the kind's query is a page, and adopted.
func TestKnownExternalID(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kind, body string
		retired    string // path prefix of queries that are answered by a page
	}{
		{kind: "text2video", body: `{"prompt":"a","external_task_id":"job-42"}`},
		{kind: "text2video", body: `{"prompt":"a","external_task_id":"job-42"}`, retired: "/v1/videos/text2video/"},
		{kind: "text-to-video", body: `{"prompt":"a","settings":{"duration":5},"options":{"external_task_id":"job-42"}}`},
		{
			kind: "drama-subtitle",
			body: `{"contents":[{"type":"video","url":"https://example.com/a.mp4"}],"options":{"external_task_id":"job-42"}}`,
		},
	} {
		t.Run(c.kind+c.retired, func(t *testing.T) {
			t.Parallel()
			w, e := behindEdge(t, setup{
				sim: klingtest.Options{Callbacks: klingtest.None}, pollOnly: true,
				bridge: bridge.Options{PollMinInterval: 50 * time.Millisecond},
			})
			e.set(func(r *http.Request, _ string) *page {
				if c.retired != "" && r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, c.retired) {
					return &page{404, html404}
				}
				return nil
			})
			k, _ := kling.DefaultKinds().Lookup(c.kind)
			rest := strings.TrimPrefix(c.body, "{")
			made, err := w.klingClient(kling.Credentials{APIKey: apiKey}, nil).Create(w.ctx, k, "kling-3.0", []byte("{"+rest))
			if err != nil {
				t.Fatal(err)
			}
			if k.Generation == kling.V2 {
				rest = `"model":"kling-3.0",` + rest
			}
			ev := w.await(w.request(testRequest{Kind: c.kind, ID: "order-42", Body: []byte("{" + rest)}))
			if ev.Status != events.StatusSucceed || ev.TaskID != made.ID {
				t.Errorf("got %s, %+v, task %s, want %s", ev.Status, ev.Error, ev.TaskID, made.ID)
			}
			w.settledDown()
			if calls := w.sim.Calls(); len(w.sim.Tasks()) != 1 || calls.RefusedCreates[1201] != 1 {
				t.Errorf("%d tasks, refused creates %v", len(w.sim.Tasks()), calls.RefusedCreates)
			}
		})
	}
}

// TestOlderTask has Kling know a task that is older than the request under its external id: it is not adopted.
func TestOlderTask(t *testing.T) {
	t.Parallel()
	for name, age := range map[string]time.Duration{"older": time.Hour, "within the grace": 4 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, e := behindEdge(t, setup{sim: silent()})
			made := time.Now().Add(-age)
			e.set(func(r *http.Request, _ string) *page {
				if r.Method == http.MethodPost {
					return &page{400, `{"code":1201,"message":"External_task_id job-7 already exists"}`}
				}
				return &page{200, fmt.Sprintf(`{"code":0,"data":{"task_id":"871","task_status":"succeed","task_info":{"external_task_id":"job-7"},
					"task_result":{"videos":[{"id":"9","url":"https://example.com/a.mp4","duration":"5.1"}]},"created_at":%d}}`, made.UnixMilli())}
			})
			ev := w.await(w.request(testRequest{
				Kind: "text2video", ID: "late", Body: body(map[string]any{"prompt": "a", "external_task_id": "job-7"}),
			}))
			if age < 5*time.Minute {
				if ev.Status != events.StatusSucceed || ev.TaskID != "871" {
					t.Errorf("got %+v", ev)
				}
				return
			}
			if ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInvalid || ev.Error.Code != 1201 ||
				!strings.Contains(ev.Error.Message, "task 871 of "+made.UTC().Format(time.RFC3339)) || !strings.Contains(ev.Error.Message, "job-7") {
				t.Errorf("got %s, %+v", ev.Status, ev.Error)
			}
		})
	}
}

// TestKnownExternalIDWithoutTask has Kling know the external id, but no task by it to the end of the lookup window.
func TestKnownExternalIDWithoutTask(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{sim: silent(), bridge: bridge.Options{LookupWindow: 500 * time.Millisecond}})
	e.set(func(r *http.Request, _ string) *page {
		if r.Method == http.MethodPost {
			return &page{400, `{"code":1201,"message":"External_task_id job-7 already exists"}`}
		}
		return nil
	})
	ev := w.await(w.submit("lost", "a"))
	if ev.Status != events.StatusRejected || ev.Error.Code != 1201 || !strings.Contains(ev.Error.Message, "finds no task") {
		t.Errorf("got %s, %+v", ev.Status, ev.Error)
	}
	if n := len(e.creates()); n != 1 {
		t.Errorf("it was sent %d times", n)
	}
}

// TestRedeliveredRequest has requests redelivered of which nothing is stored: they are looked up before they are sent. The
// replica that gets them has run for longer than they are there, so that nothing else makes it suspicious.
func TestRedeliveredRequest(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), pollOnly: true, bridge: bridge.Options{
		Concurrency: map[kling.Pool]int{kling.PoolVideo: 1}, PollMinInterval: 100 * time.Millisecond,
	}})
	w.task("text2video", "runs")
	w.submit("waits-1", "a")
	w.submit("waits-2", "a")
	lane, err := w.js.Consumer(w.ctx, "KLING_REQUESTS", "video-v1-normal")
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("the bridge has no room for more", func() bool {
		info, err := lane.Info(w.ctx)
		return err == nil && info.NumPending == 0 && info.NumAckPending == 2 && info.NumWaiting == 0
	})
	for _, id := range []string{"made", "not-made"} {
		w.request(testRequest{
			Kind: "text2video", ID: id, Body: body(map[string]any{"prompt": "a", "external_task_id": "x-" + id}),
		})
	}
	for range 2 { // in the hands of a replica that dies
		msg, err := lane.Next(jetstream.FetchMaxWait(patience))
		if err != nil {
			t.Fatal(err)
		}
		if err := msg.Nak(); err != nil {
			t.Fatal(err)
		}
	}
	k, _ := kling.DefaultKinds().Lookup("text2video")
	client := w.klingClient(kling.Credentials{APIKey: apiKey}, nil)
	made, err := client.Create(w.ctx, k, "", body(map[string]any{"prompt": "a", "external_task_id": "x-made"}))
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("all are completed", func() bool {
		for _, task := range w.sim.Tasks() {
			if err := w.sim.Finish(task.ID); err != nil {
				t.Fatal(err)
			}
		}
		return w.count("KLING_EVENTS", "kling.completion.*.succeed.*") == 5
	})
	task, err := w.client.Task(w.ctx, "made")
	if err != nil || task.TaskID != made.ID {
		t.Errorf("%v, %+v", err, task)
	}
	if calls := w.sim.Calls(); calls.Creates != 5 || len(calls.RefusedCreates) != 0 {
		t.Errorf("%d creates, refused %v; want one by hand, and one for each of the other four", calls.Creates, calls.RefusedCreates)
	}
}
