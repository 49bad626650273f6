package bridge_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// TestListPicks asks for what several questions of an operator come down to.
func TestListPicks(t *testing.T) {
	t.Parallel()
	w := full(t)
	message := func(i int) *nats.Msg {
		source, status := events.SourceCallback, []events.Status{events.StatusSucceed, events.StatusFailed}[i%2]
		if i >= 6 {
			source = events.SourcePoll
		}
		return pastAs(i, status, source)
	}
	w.put(5, message)
	at := time.Now().Add(2 * time.Millisecond) // what was stored before is long ago
	w.eventually("a moment has passed", func() bool { return time.Now().After(at) })
	w.put(3, func(i int) *nats.Msg { return message(5 + i) })
	w.request(testRequest{Kind: "text2video", ID: "waits", Body: body(map[string]any{"prompt": "a"})})
	w.untilStatus("waits", events.StatusWaiting)
	for name, c := range map[string]struct {
		query events.TaskQuery
		want  []string
	}{
		"in flight":          {events.TaskQuery{Statuses: statuses("creating,submitted,processing")}, []string{"long processing"}},
		"all that goes on":   {events.TaskQuery{Statuses: statuses("waiting, creating,submitted,processing")}, []string{"waits waiting", "long processing"}},
		"did not succeed":    {events.TaskQuery{Statuses: statuses("failed,rejected,expired")}, []string{"past-7", "past-5", "past-3", "past-1"}},
		"without callback":   {events.TaskQuery{Source: events.SourcePoll}, []string{"past-7", "past-6"}},
		"failed by poll":     {events.TaskQuery{Source: events.SourcePoll, Statuses: events.Statuses{events.StatusFailed}}, []string{"past-7"}},
		"lately":             {events.TaskQuery{Since: events.At(at)}, []string{"waits waiting", "long processing", "past-7", "past-6", "past-5"}},
		"failed lately":      {events.TaskQuery{Since: events.At(at), Statuses: statuses("failed,expired")}, []string{"past-7", "past-5"}},
		"in time to come":    {events.TaskQuery{Since: events.At(at.Add(time.Hour)), Statuses: statuses("succeed")}, nil},
		"succeeded or waits": {events.TaskQuery{Statuses: statuses("succeed,waiting")}, []string{"waits waiting", "past-6", "past-4", "past-2", "past-0"}},
	} {
		for _, limit := range []int{0, 1, 2} {
			c.query.Limit = limit
			c.query.Cursor = ""
			got, _ := w.all(c.query)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("%s, %d at a time (-want +got):\n%s", name, limit, diff)
			}
		}
	}
	for _, question := range []string{
		`{"status":"failed,done"}`, `{"status":","}`, `{"source":"phone"}`, `{"since":"yesterday"}`,
	} {
		if code, message := w.ask(events.EndpointTaskList, question); code != "400" || message == "" {
			t.Errorf("%s: %s %q, want 400", question, code, message)
		}
	}
}

// statuses are words with commas between them.
func statuses(words string) (list events.Statuses) {
	_ = list.UnmarshalText([]byte(words)) // it takes anything
	return list
}

// pastAs is a completion with that end.
func pastAs(i int, status events.Status, source events.Source) *nats.Msg {
	now := events.At(time.Now())
	ev := events.Event{
		RequestID: fmt.Sprintf("past-%d", i), Kind: "text2video", Status: status, Source: source,
		RequestedAt: now, CompletedAt: &now, PublishedAt: now, Metadata: map[string]string{},
	}
	data, err := json.Marshal(ev)
	if err != nil {
		panic(err)
	}
	s := subjects.Default()
	return &nats.Msg{Subject: s.Put(s.Completion(ev.Kind, ev.Status, ev.RequestID)), Data: data}
}

// TestListFindsFewAmongMany looks for one in a thousand: a page looks at two thousand, and its cursor leads on.
func TestListFindsFewAmongMany(t *testing.T) { // by itself: it takes what the machine has
	n := *listed * 9 / 5
	w := full(t)
	w.put(n, func(i int) *nats.Msg {
		if i%1000 == 0 {
			return pastAs(i, events.StatusFailed, events.SourceCallback)
		}
		return past(i)
	})
	got, pages := w.all(events.TaskQuery{Source: events.SourceCallback, PageQuery: events.PageQuery{Limit: 2}})
	var want []string
	for i := (n - 1) / 1000 * 1000; i >= 0; i -= 1000 {
		want = append(want, fmt.Sprintf("past-%d", i))
	}
	if diff := cmp.Diff(want, got); diff != "" || pages <= n/2000 {
		t.Errorf("%d pages (-want +got):\n%s", pages, diff)
	}
}

// TestListTellsWhatLateResultsCost adds up what an operator pays for.
func TestListTellsWhatLateResultsCost(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Duration: time.Hour}})
	ev := w.await(w.request(testRequest{
		Kind: "text2video", ID: "late", Timeout: 500 * time.Millisecond, Body: body(map[string]any{"prompt": "a"}),
	}))
	w.settledDown()
	if err := w.sim.Finish(ev.TaskID); err != nil {
		t.Fatal(err)
	}
	w.eventually("the late result is published", func() bool { return w.count("KLING_EVENTS", "kling.late.>") == 1 })
	list, err := w.client.Tasks(w.ctx, events.TaskQuery{Statuses: events.Statuses{events.StatusExpired}})
	if err != nil || len(list.Tasks) != 1 || list.Tasks[0].Units != "3" || list.Tasks[0].Result != nil ||
		list.Tasks[0].Source != events.SourceBridge {
		t.Errorf("%+v, %v", list, err)
	}
}

// TestGetTellsWhatIsWaitedFor asks about requests that wait, for different reasons.
func TestGetTellsWhatIsWaitedFor(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.submit("waits", "a")
	if task := w.untilStatus("waits", events.StatusWaiting); task.WaitsFor != "a slot of pool video (1 of 1 taken)" ||
		task.Wait == nil || task.Wait.For != events.WaitForSlot || task.Wait.Until != nil {
		t.Errorf("waits for %q, %+v", task.WaitsFor, task.Wait)
	}
	if task := w.untilStatus("long", events.StatusProcessing); task.WaitsFor != "" || task.Wait != nil {
		t.Errorf("in flight, and waits for %q", task.WaitsFor)
	}

	w = start(t, setup{sim: klingtest.Options{Faults: klingtest.Faults{Create: func(klingtest.CreateView) klingtest.Fault {
		return klingtest.Answer{Code: 1102}
	}}}})
	w.submit("paused", "a")
	w.eventually("the pool pauses", func() bool {
		status, err := w.client.Status(w.ctx)
		return err == nil && len(status.Pools[0].Paused) > 0
	})
	w.submit("waits", "a")
	task := w.untilStatus("waits", events.StatusWaiting)
	status, err := w.client.Status(w.ctx)
	if err != nil || task.WaitsFor != "the end of a pause: "+status.Pools[0].Paused[0] || task.Wait.For != events.WaitForPause {
		t.Errorf("%v, waits for %q, want %v", err, task.WaitsFor, status.Pools[0].Paused)
	}
	if !slices.Contains([]string{"the end of a pause: " + status.Pools[0].Paused[0], ""}, w.untilStatus("paused", events.StatusWaiting).WaitsFor) {
		t.Error("the first one waits for something else")
	}
}
