package bridge_test

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/events"
	eventbody "github.com/klingbridge/klingbridge/events/body"
)

// edit changes a stream as an operator does.
func (w *world) edit(stream string, change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, stream)
	if err != nil {
		w.t.Fatal(err)
	}
	config := s.CachedInfo().Config
	change(&config)
	if _, err := w.js.UpdateStream(w.ctx, config); err != nil {
		w.t.Fatal(err)
	}
}

// TestBoundedStreamStopsTheStart is told of limits by which a stream drops what was acknowledged. Recorded: 20 messages for
// KLING_REQUESTS lost 60 of 80 acknowledged requests, 40 for KLING_EVENTS made 80 tasks twice.
func TestBoundedStreamStopsTheStart(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	w.replicas[0].stop()
	for _, test := range []struct {
		stream string
		bound  func(*jetstream.StreamConfig)
		says   string // empty: it is allowed
	}{
		{"KLING_REQUESTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 20 }, "max_msgs is 20 with discard old, want no limit or discard new"},
		{"KLING_REQUESTS", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, "max_bytes is 1048576 with discard old"},
		{"KLING_REQUESTS", func(c *jetstream.StreamConfig) { c.MaxMsgs, c.Discard = 20, jetstream.DiscardNew }, ""},
		{"KLING_REQUESTS", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject is 1"},
		{"KLING_EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 40 }, "max_msgs is 40 with discard old, want no limit"},
		{"KLING_EVENTS", func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 20 }, "max_bytes is 1048576 with discard old, want no limit"},
		{"KLING_EVENTS", func(c *jetstream.StreamConfig) { c.MaxMsgsPerSubject = 1 }, "max_msgs_per_subject is 1"},
		{"KLING_DEAD", func(c *jetstream.StreamConfig) { c.MaxMsgs = 20 }, ""},
	} {
		w.edit(test.stream, test.bound)
		err := w.runs(setup{})
		if _, conflict := errors.AsType[*bus.ConflictError](err); conflict != (test.says != "") {
			t.Errorf("%s: got %v, want a conflict: %t", test.stream, err, test.says != "")
		} else if conflict && (!strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), test.stream)) {
			t.Errorf("%s: %v does not say %q", test.stream, err, test.says)
		}
		w.edit(test.stream, func(c *jetstream.StreamConfig) {
			c.MaxMsgs, c.MaxBytes, c.MaxMsgsPerSubject, c.Discard = -1, -1, -1, jetstream.DiscardOld
		})
	}
	if err := w.runs(setup{}); err != nil {
		t.Errorf("without limits: %v", err)
	}
}

// TestBoundedStreamIsAReason finds what an operator does beside a bridge that runs.
func TestBoundedStreamIsAReason(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	admin := w.replicas[0].adminURL
	for _, test := range []struct {
		stream string
		bound  func(*jetstream.StreamConfig)
		says   string
	}{
		{"KLING_REQUESTS", func(c *jetstream.StreamConfig) { c.MaxMsgs = 20 }, "max_msgs is 20 with discard old"},
		{"KLING_EVENTS", func(c *jetstream.StreamConfig) { c.MaxAge /= 2 }, "max_age is 360h0m0s, want 720h0m0s"},
	} {
		s, err := w.js.Stream(w.ctx, test.stream)
		if err != nil {
			t.Fatal(err)
		}
		before := s.CachedInfo().Config
		w.edit(test.stream, test.bound)
		w.eventually("it is not ready", func() bool {
			status, text := get(t, admin+"/readyz")
			return status == http.StatusServiceUnavailable && strings.Contains(text, test.stream) && strings.Contains(text, test.says)
		})
		w.edit(test.stream, func(c *jetstream.StreamConfig) { *c = before })
		w.waitReady(w.replicas[0])
	}
}

// fillEvents stores junk in KLING_EVENTS until only part of it, 1 of so many, is free, give or take a message.
func (w *world) fillEvents(part uint64) {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		w.t.Fatal(err)
	}
	size, held := uint64(s.CachedInfo().Config.MaxBytes), s.CachedInfo().State.Bytes
	for i := 0; held < size-size/part; i++ {
		junk := make([]byte, 4<<10)
		if _, err := w.js.Publish(w.ctx, fmt.Sprintf("kling-put.kling-state.junk.%d.%d", part, i), junk); err != nil {
			w.t.Fatal(err)
		}
		held += uint64(len(junk)) + 100
	}
}

var eventsHeld = regexp.MustCompile(`"the stream is full: KLING_EVENTS holds (\d+) of \d+ bytes \(BRIDGE_STREAM_MAX_BYTES\)"`)

// heldEvents reads from what a bridge is not ready for how many bytes its events stream holds; 0: it does not say.
func heldEvents(t *testing.T, admin string) int {
	t.Helper()
	_, text := get(t, admin+"/readyz")
	parts := eventsHeld.FindStringSubmatch(text)
	if parts == nil {
		return 0
	}
	held, err := strconv.Atoi(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	return held
}

// TestFullEvents has the events stream filled nearly: nothing new begins, what has begun ends. Filled further, a callback is
// answered 503. With room again everything ends, once, and nothing was dropped.
func TestFullEvents(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{StreamMaxBytes: bridge.StreamSizes{Events: 1 << 20}}})
	admin := w.replicas[0].adminURL
	under, late := w.task("text2video", "under-way"), w.task("text2video", "late")
	w.fillEvents(10)
	w.eventually("it says that there is no room", func() bool { return heldEvents(t, admin) > 0 })
	w.submit("new", "a")
	if got := w.post(under.CallbackURL, v1Body(under, "succeed")); got != http.StatusOK {
		t.Errorf("the end of a task: %d", got)
	}
	w.fillEvents(20)
	w.eventually("it knows that there is none at all", func() bool { return heldEvents(t, admin) > 15<<16 })
	if got := w.post(late.CallbackURL, v1Body(late, "succeed")); got != http.StatusServiceUnavailable {
		t.Errorf("the end of a task without any room: %d, want 503", got)
	}
	if n := len(w.sim.Tasks()); n != 2 {
		t.Errorf("%d tasks at Kling, want the 2 from before", n)
	}
	w.edit("KLING_EVENTS", func(c *jetstream.StreamConfig) { c.MaxBytes = 4 << 20 })
	w.waitReady(w.replicas[0])
	if got := w.post(late.CallbackURL, v1Body(late, "succeed")); got != http.StatusOK {
		t.Errorf("the end of a task with room again: %d", got)
	}
	w.eventually("the new request is a task", func() bool { return len(w.sim.Tasks()) == 3 })
	for _, id := range []string{"under-way", "late"} {
		if ev := w.await(id); ev.Status != events.StatusSucceed {
			t.Errorf("%s: %s", id, ev.Status)
		}
	}
	s, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.GetLastMsgForSubject(w.ctx, "kling-state.junk.10.0"); err != nil {
		t.Errorf("the oldest: %v", err)
	}
}

// TestFullRequests has the stream of requests refuse what is too much, at once and at its publisher.
func TestFullRequests(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{StreamMaxBytes: bridge.StreamSizes{Requests: 64 << 10}}})
	w.sim.SetAuthOutage(1002)
	first := w.submit("first", strings.Repeat("x", 40<<10))
	_, err := w.client.Submit(w.ctx, eventbody.Raw("text2video", body(map[string]any{"prompt": strings.Repeat("x", 40<<10)})),
		events.Options{ID: "second"})
	if !errors.Is(err, events.ErrFull) {
		t.Fatalf("got %v, want ErrFull", err)
	}
	w.edit("KLING_REQUESTS", func(c *jetstream.StreamConfig) {
		if c.Discard != jetstream.DiscardNew {
			t.Errorf("discard is %v", c.Discard)
		}
	})
	if w.count("KLING_REQUESTS", "kling.request.>") != 1 {
		t.Errorf("%s is gone", first)
	}
}
