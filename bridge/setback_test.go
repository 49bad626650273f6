package bridge_test

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
	eventbody "github.com/klingbridge/klingbridge/events/body"
)

// TestCallbackBeforeTheRequestIsLookedUp has Kling call back about tasks whose records are lost, while their requests wait
// in the stream again, as after a store was set back. Recorded, such a request was completed without its metadata and, where
// its id is no token, under the token in place of its id; one with an external id of its own was refused.
func TestCallbackBeforeTheRequestIsLookedUp(t *testing.T) {
	t.Parallel()
	bodies := map[string]func(klingtest.TaskView) string{
		"order/1 ü": func(task klingtest.TaskView) string { return v1Body(task, "succeed") },
		"order/2 ü": func(task klingtest.TaskView) string { return v1Body(task, "succeed") }, // with an external id of its own
		"order/3 ü": func(klingtest.TaskView) string { return `{"task_status":"succeed"}` },
	}
	w := start(t, setup{sim: silent()})
	tasks := map[string]klingtest.TaskView{}
	for id := range bodies {
		w.request(waitingRequest(id))
		w.eventually("the task is announced", func() bool {
			return w.count("KLING_EVENTS", "kling.progress.*.submitted."+events.Token(id)) == 1
		})
		made := w.sim.Tasks()
		tasks[id] = made[len(made)-1]
		if err := w.sim.Finish(tasks[id].ID); err != nil {
			t.Fatal(err)
		}
	}
	w.replicas[0].stop()
	w.sim.SetAuthOutage(1002) // the first request is a probe, and the others wait for it
	w.submit("probe", "a")
	r := w.launch(setup{bridge: bridge.Options{ProbeInterval: 2 * time.Second}})
	w.awaitReasons(r, "1002")
	w.forget("kling.progress.>", "kling-state.>")
	for id := range bodies {
		w.requestAgain(waitingRequest(id))
	}
	for id, task := range tasks {
		_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
		if got := w.post(r.callbackURL+"/callbacks/"+path, bodies[id](task)); got != http.StatusOK {
			t.Errorf("callback of %s: %d", id, got)
		}
	}
	w.sim.SetAuthOutage(0)
	for id, task := range tasks {
		ev := w.await(id)
		if ev.Status != events.StatusSucceed || ev.RequestID != id || !maps.Equal(ev.Metadata, waitingRequest(id).Metadata) ||
			ev.ExternalTaskID != task.ExternalID {
			t.Errorf("%s ended as %+v", id, ev)
		}
	}
	w.eventually("no request is left", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
	if n := len(w.sim.Tasks()); n != len(tasks)+1 {
		t.Errorf("%d tasks of %d requests", n, len(tasks)+1)
	}
}

// waitingRequest is a request that brings metadata along, and maybe an external id.
func waitingRequest(id string) testRequest {
	fields := map[string]any{"prompt": "a"}
	if strings.Contains(id, "2") {
		fields["external_task_id"] = "mine-2"
	}
	return testRequest{Kind: "text2video", ID: id, Body: body(fields), Metadata: map[string]string{"Tenant": id}}
}

// requestAgain publishes a request as if the server had never seen it.
func (w *world) requestAgain(r testRequest) {
	w.t.Helper()
	msg, err := events.NewRequest(events.Subjects{}, eventbody.Raw(r.Kind, r.Body), r.options())
	if err != nil {
		w.t.Fatal(err)
	}
	msg.Header.Del(jetstream.MsgIDHeader)
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		w.t.Fatal(err)
	}
}

// TestCallbackWithoutRecordIsToldByProgress loses the record of a task that was announced.
func TestCallbackWithoutRecordIsToldByProgress(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), replicas: 2})
	for i, says := range []string{"in full", "thin"} {
		r := waitingRequest(fmt.Sprintf("order/%d ü", i))
		w.request(r)
		w.eventually("the task is announced", func() bool {
			return w.count("KLING_EVENTS", "kling.progress.*.submitted."+events.Token(r.ID)) == 1
		})
		w.eventually("the request is acked", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
		task := w.sim.Tasks()[i]
		if err := w.sim.Finish(task.ID); err != nil {
			t.Fatal(err)
		}
		w.forget("kling-state.*.*.*." + events.Token(r.ID))
		said := v1Body(task, "succeed")
		if says == "thin" {
			said = `{"task_status":"succeed"}`
		}
		_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
		for _, replica := range w.replicas { // the one that created the task has its record in memory
			if strings.HasPrefix(task.CallbackURL, replica.callbackURL) {
				continue
			}
			if got := w.post(replica.callbackURL+"/callbacks/"+path, said); got != http.StatusOK {
				t.Errorf("%s: %d", says, got)
			}
		}
		ev := w.await(r.ID)
		if ev.Status != events.StatusSucceed || ev.RequestID != r.ID || !maps.Equal(ev.Metadata, r.Metadata) || ev.TaskID != task.ID {
			t.Errorf("%s: ended as %+v", says, ev)
		}
	}
}
