package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/events"
)

// answeringPages answers with three pages of two ids each, and after them with an error.
func (b *bundle) answeringPages(e events.Endpoint, page func(ids []string, cursor string) any) {
	b.t.Helper()
	b.answering(e, func(r micro.Request) {
		var q events.TaskQuery
		if err := json.Unmarshal(r.Data(), &q); err != nil {
			b.t.Error(err)
		}
		n := 0
		if q.Cursor != "" {
			_, _ = fmt.Sscan(q.Cursor, &n)
		}
		cursor := fmt.Sprint(n + 1)
		if n == 2 {
			cursor = ""
		}
		_ = r.RespondJSON(page([]string{fmt.Sprint(2 * n), fmt.Sprint(2*n + 1)}, cursor))
	})
}

func TestAllTasks(t *testing.T) {
	t.Parallel()
	b := setupEmpty(t)
	b.answeringPages(events.EndpointTaskList, func(ids []string, cursor string) any {
		list := events.TaskList{Cursor: cursor}
		for _, id := range ids {
			list.Tasks = append(list.Tasks, events.Task{RequestID: id})
		}
		return list
	})
	all := b.client.AllTasks(t.Context(), events.TaskQuery{Kind: "effects"})
	for range 2 { // it may be ranged over again
		var got []string
		for task, err := range all {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, task.RequestID)
		}
		if want := []string{"0", "1", "2", "3", "4", "5"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	for task, err := range all {
		if err != nil {
			t.Fatal(err)
		}
		if task.RequestID == "3" {
			break
		}
	}
}

func TestAllDeadLetters(t *testing.T) {
	t.Parallel()
	b := setupEmpty(t)
	b.answeringPages(events.EndpointDeadList, func(ids []string, cursor string) any {
		list := events.DeadList{Cursor: cursor}
		for _, id := range ids {
			list.Dead = append(list.Dead, events.DeadLetter{RequestID: id})
		}
		return list
	})
	n := 0
	for _, err := range b.client.AllDeadLetters(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 6 {
		t.Errorf("%d dead letters, want 6", n)
	}
}

func TestAllEndsWithAnError(t *testing.T) {
	t.Parallel()
	b := setupEmpty(t)
	n := 0
	for _, err := range b.client.AllTasks(t.Context(), events.TaskQuery{}) {
		n++
		if !errors.Is(err, events.ErrNoAnswer) {
			t.Errorf("got %v, want ErrNoAnswer", err)
		}
	}
	if n != 1 {
		t.Errorf("%d pairs, want one", n)
	}
}

func TestEventsOfOneRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(b.js, events.TypeProgress, event("order-1", events.StatusSubmitted))
	b.store(b.js, events.TypeProgress, event("order-2", events.StatusSubmitted))
	b.put(b.subjects.Progress("text2video", events.StatusProcessing, "order-1"), `not JSON`)
	b.store(b.js, events.TypeProgress, event("order-1", events.StatusProcessing))
	got := make(chan events.Status)
	go func() {
		defer close(got)
		for m, err := range b.client.Events(t.Context(), "order-1") {
			if err != nil {
				t.Error(err)
			}
			got <- m.Event.Status
		}
	}()
	if first, second := <-got, <-got; first != events.StatusSubmitted || second != events.StatusProcessing {
		t.Errorf("got %s and %s", first, second)
	}
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusExpired))
	b.store(b.js, events.TypeLate, event("order-1", events.StatusSucceed))
	if last := <-got; last != events.StatusExpired {
		t.Errorf("got %s, want the completion", last)
	}
	if more, open := <-got; open {
		t.Errorf("got %s after the completion", more)
	}
	for _, err := range b.client.Events(t.Context(), "") {
		if err == nil {
			t.Error("no id is no error")
		}
	}
}

func TestMessageArchived(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.put("kling.archived.text2video.succeed.order-1",
		`{"request_id":"order-1","kind":"text2video","files":[{"source_url":"https://a","archive_url":"nats-object://b/c","bytes":7}]}`)
	filter := events.Filter{Types: []events.Type{events.TypeArchived}, Since: longAgo}
	for m, err := range b.client.Watch(t.Context(), filter) {
		if err != nil {
			t.Fatal(err)
		}
		a, err := m.Archived()
		if err != nil || a.RequestID != "order-1" || len(a.Files) != 1 || a.Files[0].Bytes != 7 {
			t.Errorf("got %+v, %v", a, err)
		}
		m.Type = events.TypeCompletion
		if _, err := m.Archived(); err == nil {
			t.Error("a completion is an archived event")
		}
		m.Type, m.Raw = events.TypeArchived, []byte("{")
		if _, err := m.Archived(); err == nil {
			t.Error("half an object is no error")
		}
		break
	}
}
