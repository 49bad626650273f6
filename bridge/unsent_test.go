package bridge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// large is a prompt with which a body is as large as a message may be, more or less.
func large() string { return strings.Repeat("x", 1000<<10) }

// expires publishes a request that ends before it can become a task.
func (w *world) expires(id, prompt string) {
	w.t.Helper()
	msg := w.message(id, prompt)
	msg.Header.Set(events.HeaderTimeout, "1ns")
	msg.Header.Set("Kling-Body-Bytes", "7") // which means nothing on a request
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		w.t.Fatal(err)
	}
}

// keptBodies is what is kept of the bodies of all requests, in bytes.
func (w *world) keptBodies() (n int) {
	w.t.Helper()
	for _, m := range w.stored("KLING_EVENTS", "kling-state.original.>") {
		n += len(m.Data)
	}
	return n
}

// wantBeginning checks what is told of an expired request with a large body, and that it is not sent again.
func (w *world) wantBeginning(id string) {
	w.t.Helper()
	whole := string(w.message(id, large()).Data)
	task, err := w.client.Task(w.ctx, id)
	if err != nil || task.Status != events.StatusExpired || task.BodyBytes != len(whole) || len(task.Body) != 4<<10 || !strings.HasPrefix(whole, task.Body) {
		w.t.Errorf("%s, which is %s: asked for %d bytes, %d shown, %v; want 4 KiB of %d", id, task.Status, task.BodyBytes, len(task.Body), err, len(whole))
	}
	_, err = w.client.Again(w.ctx, id, nil)
	wantRefusal(w.t, err, 409)
	if err != nil && !strings.Contains(err.Error(), "only the beginning is kept, as they are more than 65536") {
		w.t.Errorf("%s is not sent again, saying %q", id, err)
	}
}

// TestExpiredRequestsLeaveLittle has requests with large bodies end that have cost nothing, by a pool, while they wait, and with
// a server that refuses what is kept at first. Recorded: 40 of them left 40 MB in the stream of the guards for 30 days.
func TestExpiredRequestsLeaveLittle(t *testing.T) {
	t.Parallel()
	const most = 5 * 8 << 10
	t.Run("by a pool", func(t *testing.T) {
		t.Parallel()
		w := start(t, setup{})
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			w.expires(id, large())
			w.await(id)
		}
		w.settledDown()
		if n := w.keptBodies(); n > most {
			t.Errorf("%d bytes are kept", n)
		}
		w.wantBeginning("a")
		w.expires("ordinary", strings.Repeat("x", 60<<10))
		w.await("ordinary")
		if as, err := w.client.Again(w.ctx, "ordinary", nil); err != nil || as != "ordinary-r1" {
			t.Errorf("one with an ordinary body: %s, %v", as, err)
		}
	})
	t.Run("while it waits", func(t *testing.T) {
		t.Parallel()
		w := full(t)
		for _, id := range []string{"a", "b", "c", "d", "e"} {
			msg := w.message(id, large())
			msg.Header.Set(events.HeaderTimeout, "1s")
			if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
				t.Fatal(err)
			}
		}
		w.await("e")
		w.eventually("none of them waits", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
		if n := w.keptBodies(); n > most+len(`{"prompt":"a"}`) {
			t.Errorf("%d bytes are kept", n)
		}
		w.wantBeginning("e")
	})
	t.Run("after an error", func(t *testing.T) {
		t.Parallel()
		s := subjects.Default()
		allow := func(permissions string) string {
			return `jetstream: {}
			authorization: {users: [{user: a, password: a, permissions: {` + permissions + `}}]}`
		}
		srv := bustest.Start(t, bustest.Config(t, allow(`publish: {deny: "`+s.Put(s.OriginalOf("*"))+`"}`)))
		w := start(t, setup{natsURL: strings.Replace(srv.URL(), "nats://", "nats://a:a@", 1)})
		w.expires("a", large())
		w.await("a")
		srv.Reload(bustest.Config(t, allow(`publish: ">"`)))
		w.settledDown()
		w.wantBeginning("a")
	})
}

// TestUnsentRequestsLeaveHalfTheRoom has requests end that have cost nothing while half of the stream of events is taken.
func TestUnsentRequestsLeaveHalfTheRoom(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{StreamMaxBytes: bridge.StreamSizes{Events: 1 << 20}}})
	w.expires("before", "a")
	w.await("before")
	w.asked("before", events.StatusExpired, `{"prompt":"a"}`)
	w.fillEvents(2)
	n := 0
	w.eventually("none of what expires is kept", func() bool { // once the stream was asked again how full it is
		n++
		id := fmt.Sprintf("after-%d", n)
		w.expires(id, "a")
		w.await(id)
		w.settledDown()
		return w.count("KLING_EVENTS", "kling-state.original.*.request.request."+id) == 0
	})
	_, err := w.client.Again(w.ctx, fmt.Sprintf("after-%d", n), nil)
	wantRefusal(t, err, 409)
	if err != nil && !strings.Contains(err.Error(), "no room to spare") {
		t.Errorf("it is not sent again, saying %q", err)
	}
	w.submit("paid", "b")
	w.await("paid")
	w.settledDown()
	w.asked("paid", events.StatusSucceed, `{"prompt":"b"}`)
}
