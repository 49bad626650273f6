package bridge_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// put stores messages as the bridge would have, many at a time.
func (w *world) put(n int, message func(i int) *nats.Msg) {
	w.t.Helper()
	for i := range n {
		if _, err := w.js.PublishMsgAsync(message(i), jetstream.WithStallWait(patience)); err != nil {
			w.t.Fatal(err)
		}
	}
	select {
	case <-w.js.PublishAsyncComplete():
	case <-time.After(5 * patience):
		w.t.Fatal("messages are not stored")
	}
}

// past is the completion of a task that ended some time ago, between other messages as in real life.
func past(i int) *nats.Msg {
	now := events.At(time.Now())
	ev := events.Event{
		RequestID: fmt.Sprintf("past-%d", i), Kind: pastKind(i), Status: pastStatus(i), Source: events.SourcePoll,
		RequestedAt: now, CompletedAt: &now, PublishedAt: now, Metadata: map[string]string{},
	}
	if ev.Status != events.StatusSucceed {
		ev.Error = &events.Error{Class: events.ErrorKling, Message: "no"}
	} else {
		ev.Kling = []byte(`{"filler":"` + strings.Repeat("x", 500) + `"}`)
	}
	data, err := json.Marshal(ev)
	if err != nil {
		panic(err)
	}
	s := subjects.Default()
	msg := nats.NewMsg(s.Put(s.Completion(ev.Kind, ev.Status, ev.RequestID)))
	msg.Data = data
	return msg
}

func pastKind(i int) string {
	if i%100 == 0 {
		return "image-expand"
	}
	return "text2video"
}

func pastStatus(i int) events.Status {
	if i%7 == 0 || i < 300 { // dense where the stream begins
		return events.StatusFailed
	}
	return events.StatusSucceed
}

// all follows the cursors of a list and returns the ids, with their statuses where they have not ended.
func (w *world) all(q events.TaskQuery) (ids []string, pages int) {
	w.t.Helper()
	for {
		list, err := w.client.Tasks(w.ctx, q)
		if err != nil {
			w.t.Fatal(err)
		}
		if limit := max(q.Limit, 1); len(list.Tasks) > limit && q.Limit > 0 {
			w.t.Errorf("a page of %d tasks, want at most %d", len(list.Tasks), limit)
		}
		pages++
		for _, task := range list.Tasks {
			id := task.RequestID
			if !task.Status.Terminal() {
				id += " " + string(task.Status)
			}
			ids = append(ids, id)
		}
		if list.Cursor == "" {
			return ids, pages
		}
		q.Cursor = list.Cursor
	}
}

// listed is more than is looked at for one page.
var listed = flag.Int("list.tasks", 2500, "tasks that are listed")

func TestListPagesThroughManyTasks(t *testing.T) { // by itself: it takes what the machine has
	n := *listed
	w := full(t)
	w.put(n, past)
	want := func(match func(i int) bool) []string {
		var ids []string
		for i := n - 1; i >= 0; i-- {
			if match(i) {
				ids = append(ids, fmt.Sprintf("past-%d", i))
			}
		}
		return ids
	}
	for name, c := range map[string]struct {
		query events.TaskQuery
		match func(i int) bool
	}{
		"succeed":      {events.TaskQuery{Statuses: events.Statuses{events.StatusSucceed}}, func(i int) bool { return pastStatus(i) == events.StatusSucceed }},
		"failed":       {events.TaskQuery{Statuses: events.Statuses{events.StatusFailed}}, func(i int) bool { return pastStatus(i) == events.StatusFailed }},
		"kind":         {events.TaskQuery{Kind: "image-expand"}, func(i int) bool { return pastKind(i) == "image-expand" }},
		"both":         {events.TaskQuery{Kind: "image-expand", Statuses: events.Statuses{events.StatusFailed}}, func(i int) bool { return i%700 == 0 || i < 300 && i%100 == 0 }},
		"expired":      {events.TaskQuery{Statuses: events.Statuses{events.StatusExpired}}, func(int) bool { return false }},
		"another kind": {events.TaskQuery{Kind: "effects"}, func(int) bool { return false }},
	} {
		c.query.Limit = 900
		got, _ := w.all(c.query)
		if diff := cmp.Diff(want(c.match), got); diff != "" {
			t.Errorf("%s (-want +got):\n%.2000s", name, diff)
		}
	}
	got, _ := w.all(events.TaskQuery{PageQuery: events.PageQuery{Limit: 1000}})
	everything := append([]string{"long processing"}, want(func(int) bool { return true })...)
	if diff := cmp.Diff(everything, got); diff != "" {
		t.Errorf("everything (-want +got):\n%.2000s", diff)
	}
}

// TestListKeepsTheOrderOfLife lists requests in every state.
func TestListKeepsTheOrderOfLife(t *testing.T) {
	t.Parallel()
	w := full(t)
	w.put(5, past)
	for i, priority := range []events.Priority{
		events.PriorityLow, events.PriorityNormal, events.PriorityHigh, events.PriorityLow, events.PriorityNormal, events.PriorityHigh,
	} {
		w.request(testRequest{Kind: "text2video", ID: fmt.Sprintf("w%d", i), Priority: priority, Body: body(map[string]any{"prompt": "a"})})
	}
	want := []string{
		"w2 waiting", "w5 waiting", "w1 waiting", "w4 waiting", "w0 waiting", "w3 waiting", "long processing",
		"past-4", "past-3", "past-2", "past-1", "past-0",
	}
	for _, limit := range []int{0, 1, 2, 5, 12, 13} {
		got, pages := w.all(events.TaskQuery{PageQuery: events.PageQuery{Limit: limit}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limit %d (-want +got):\n%s", limit, diff)
		}
		if wantPages := (12 + limit - 1) / max(limit, 1); limit > 0 && pages != wantPages {
			t.Errorf("limit %d: %d pages, want %d", limit, pages, wantPages)
		}
	}
	if got, _ := w.all(events.TaskQuery{Kind: "effects"}); len(got) != 0 {
		t.Errorf("effects: %v", got)
	}
	if got, _ := w.all(events.TaskQuery{Statuses: events.Statuses{events.StatusWaiting}}); !slices.Equal(got, want[:6]) {
		t.Errorf("waiting: %v", got)
	}
	if got, _ := w.all(events.TaskQuery{Statuses: events.Statuses{events.StatusProcessing}, Kind: "text2video"}); !slices.Equal(got, want[6:7]) {
		t.Errorf("processing: %v", got)
	}
	if got, _ := w.all(events.TaskQuery{Statuses: events.Statuses{events.StatusSubmitted}}); len(got) != 0 {
		t.Errorf("submitted: %v", got)
	}
}

// TestListOfManyInFlight pages through tasks in flight while their timers are set anew, which moves their records.
func TestListOfManyInFlight(t *testing.T) { // by itself: it takes what the machine has
	const n = 100
	w := start(t, setup{
		pollOnly: true,
		sim:      klingtest.Options{SubmittedFor: time.Hour, Duration: 2 * time.Hour, Slots: map[kling.Pool]int{kling.PoolVideo: n}},
		bridge:   bridge.Options{PollMinInterval: 200 * time.Millisecond, PollMaxInterval: 200 * time.Millisecond},
	})
	want := make([]string, n)
	for i := range n {
		want[i] = w.submit(fmt.Sprintf("t-%03d", i), "a") + " submitted"
	}
	w.eventually("all are in flight", func() bool {
		status, err := w.client.Status(w.ctx)
		return err == nil && status.InFlight == n && status.QueueDepth == 0
	})
	for range 5 {
		got, _ := w.all(events.TaskQuery{PageQuery: events.PageQuery{Limit: 17}})
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("(-want +got):\n%s", diff)
		}
	}
}

// TestListFitsIntoAMessage asks for more than a message of the server can hold.
func TestListFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t, func(o *server.Options) { o.MaxPayload = 32 << 10 })
	w := start(t, setup{natsURL: srv.URL()})
	const n = 400
	w.put(n, past)
	got, pages := w.all(events.TaskQuery{PageQuery: events.PageQuery{Limit: 1000}})
	if len(got) != n || len(slices.Compact(slices.Sorted(slices.Values(got)))) != n || pages < 4 {
		t.Errorf("%d tasks on %d pages, want %d on several", len(got), pages, n)
	}
	for i := range 30 {
		w.submit(fmt.Sprintf("d-%d", i), "[policy]"+strings.Repeat("p", 3000))
	}
	w.eventually("all are rejected", func() bool { return w.count("KLING_DEAD", "kling.dead.>") == 30 })
	q, dead := events.PageQuery{}, 0
	for {
		list, err := w.client.DeadLetters(w.ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		if dead += len(list.Dead); list.Cursor == "" {
			break
		}
		q.Cursor = list.Cursor
	}
	if dead != 30 {
		t.Errorf("%d dead letters, want 30", dead)
	}
}
