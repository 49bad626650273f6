package bridge_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

func TestGetTellsTheResult(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	ev := w.await(w.submit("done", "a"))
	task, err := w.client.Task(w.ctx, "done")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ev.Result, task.Result); diff != "" || ev.Result == nil || task.Units != ev.Units || ev.Units == "" {
		t.Errorf("units %q, want %q; result (-want +got):\n%s", task.Units, ev.Units, diff)
	}
	if _, answer := w.ask(events.EndpointTaskGet, "done"); !strings.Contains(answer, `"url":"`+ev.Result.Videos[0].URL+`"`) {
		t.Errorf("the URL can't be copied from %s", answer)
	}
	list, err := w.client.Tasks(w.ctx, events.TaskQuery{})
	if err != nil || len(list.Tasks) != 1 || list.Tasks[0].Units != ev.Units || list.Tasks[0].Result != nil {
		t.Errorf("%+v, %v: want the units, and no result, which would make a page large", list, err)
	}
}

// TestGetTellsALateResult asks for what Kling delivered after the deadline: it was paid for.
func TestGetTellsALateResult(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Duration: time.Hour}})
	ev := w.await(w.request(testRequest{
		Kind: "text2video", ID: "late", Timeout: 500 * time.Millisecond, Body: body(map[string]any{"prompt": "a"}),
	}))
	if _, answer := w.ask(events.EndpointTaskGet, "late"); strings.Contains(answer, `"result"`) || strings.Contains(answer, `"units"`) {
		t.Errorf("%s: want neither result nor units", answer)
	}
	w.settledDown()
	if err := w.sim.Finish(ev.TaskID); err != nil {
		t.Fatal(err)
	}
	w.eventually("the late result is published", func() bool { return w.count("KLING_EVENTS", "kling.late.>") == 1 })
	var late events.Event
	if err := json.Unmarshal(w.stored("KLING_EVENTS", "kling.late.>")[0].Data, &late); err != nil {
		t.Fatal(err)
	}
	task, err := w.client.Task(w.ctx, "late")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(late.Result, task.Result); diff != "" || task.Status != events.StatusExpired || task.Units != late.Units || late.Units == "" {
		t.Errorf("%s, units %q; result (-want +got):\n%s", task.Status, task.Units, diff)
	}
	w.ask(events.EndpointTaskGet, "late") // which holds the answer to its schema
}
