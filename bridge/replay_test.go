package bridge_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// rejected has a request of low priority rejected and buried.
func (w *world) rejected(id string, header nats.Header) {
	w.t.Helper()
	msg := nats.NewMsg("kling.request.text2video.low")
	msg.Data = []byte(`{"prompt":"[policy]","cfg_scale":0.50}`)
	for name, values := range header {
		msg.Header[name] = values
	}
	msg.Header.Set(events.HeaderRequestID, id)
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		w.t.Fatal(err)
	}
	if ev := w.await(id); ev.Status != events.StatusRejected {
		w.t.Fatalf("got %+v", ev)
	}
	w.eventually("the dead letter is stored", func() bool {
		return w.count("KLING_DEAD", "kling.dead.*.*."+events.Token(id)) == 1
	})
}

func TestReplay(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{}})
	requests, err := w.nc.SubscribeSync("kling.request.>")
	if err != nil {
		t.Fatal(err)
	}
	w.rejected("a", nats.Header{
		"Kling-Timeout": {"2h"}, "Kling-Meta-Tenant": {"acme"}, "X-Mine": {"1", "2"}, "Nats-Msg-Id": {"mine"},
		"Kling-Error-Priority": {"high"},
	})
	if _, err := requests.NextMsg(patience); err != nil {
		t.Fatal(err)
	}
	if code, answer := w.ask(events.EndpointDeadReplay, "a"); code != "" || answer != `{"request_id":"a-r1"}` {
		t.Fatalf("%s %s", code, answer)
	}
	got, err := requests.NextMsg(patience)
	if err != nil {
		t.Fatal(err)
	}
	want := nats.Header{
		"Kling-Timeout": {"2h"}, "Kling-Meta-Tenant": {"acme"}, "X-Mine": {"1", "2"}, "Nats-Msg-Id": {"a-r1"},
		"Kling-Request-Id": {"a-r1"}, "Kling-Replay-Of": {"a"},
	}
	if diff := cmp.Diff(want, got.Header); diff != "" || got.Subject != "kling.request.text2video.low" ||
		string(got.Data) != `{"prompt":"[policy]","cfg_scale":0.50}` {
		t.Errorf("%s %s (-want +got):\n%s", got.Subject, got.Data, diff)
	}
	ev := w.await("a-r1")
	if ev.Status != events.StatusRejected || ev.ReplayOf != "a" || ev.Metadata["Tenant"] != "acme" {
		t.Errorf("got %+v", ev)
	}
	w.eventually("both dead letters are stored", func() bool { return w.count("KLING_DEAD", "kling.dead.>") == 2 })
	list, err := w.client.DeadLetters(w.ctx, events.PageQuery{})
	if err != nil || len(list.Dead) != 2 || list.Cursor != "" {
		t.Fatalf("%+v, %v", list, err)
	}
	first, second := list.Dead[1], list.Dead[0]
	if first.RequestID != "a" || !first.Replayed || first.Error.Class != events.ErrorPolicy || first.Error.Code == 0 ||
		first.Error.HTTPStatus != 400 || first.Error.Message != ev.Error.Message || first.Kind != "text2video" ||
		first.Status != events.StatusRejected || first.Metadata["Tenant"] != "acme" || first.Bytes != len(got.Data) ||
		first.Payload != string(got.Data) || first.DiedAt.IsZero() {
		t.Errorf("got %+v", first)
	}
	if second.RequestID != "a-r1" || second.Replayed {
		t.Errorf("got %+v", second)
	}
	for id, want := range map[string]string{"a": "a-r2", "a-r1": "a-r1-r1"} {
		as, err := w.client.Replay(w.ctx, id)
		if err != nil || as != want {
			t.Errorf("replay of %s: %q, %v", id, as, err)
		}
		if ev := w.await(want); ev.ReplayOf != id {
			t.Errorf("got %+v", ev)
		}
	}
}

// TestReplayBecomesATask follows a replay whose cause was mended, over every event.
func TestReplayBecomesATask(t *testing.T) {
	t.Parallel()
	var mended sync.Once
	w := start(t, setup{sim: klingtest.Options{Faults: klingtest.Faults{Create: func(klingtest.CreateView) klingtest.Fault {
		var f klingtest.Fault
		mended.Do(func() { f = klingtest.Answer{Code: 1301} })
		return f
	}}}})
	w.submit("a", "a")
	if ev := w.await("a"); ev.Status != events.StatusRejected || ev.ReplayOf != "" {
		t.Fatalf("got %+v", ev)
	}
	w.settledDown()
	id, err := w.client.Replay(w.ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if ev := w.await(id); ev.Status != events.StatusSucceed || ev.ReplayOf != "a" {
		t.Errorf("got %+v", ev)
	}
	if task, err := w.client.Task(w.ctx, id); err != nil || task.ReplayOf != "a" {
		t.Errorf("got %+v, %v", task, err)
	}
	for _, m := range w.stored("KLING_EVENTS", "kling.*.*.*."+id) {
		if !strings.Contains(string(m.Data), `"replay_of":"a"`) {
			t.Errorf("%s: %s", m.Subject, m.Data)
		}
	}
	w.settledDown()
	_, err = w.client.Replay(w.ctx, "a") // as a caller does whose answer was lost
	wantRefusal(t, err, http.StatusConflict)
}

// TestReplayWaitsForTheLast replays while the replay before waits, is in flight, and has ended.
func TestReplayWaitsForTheLast(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim:    klingtest.Options{SubmittedFor: 10 * time.Millisecond, Duration: time.Hour},
		bridge: bridge.Options{Concurrency: map[kling.Pool]int{kling.PoolVideo: 1}},
	})
	w.rejected("a", nil)
	w.submit("first", "a")
	first := w.untilStatus("first", events.StatusProcessing)
	const racers = 8
	var racing sync.WaitGroup
	for range racers {
		racing.Go(func() {
			id, err := w.client.Replay(w.ctx, "a")
			if err == nil && id != "a-r1" {
				t.Errorf("replayed as %s", id)
			}
			if err != nil {
				wantRefusal(t, err, 409)
			}
		})
	}
	racing.Wait()
	if n := w.count("KLING_REQUESTS", "kling.request.>"); n != 1 {
		t.Errorf("%d requests of one replay", n)
	}
	_, err := w.client.Replay(w.ctx, "a")
	wantRefusal(t, err, 409)
	list, err := w.client.DeadLetters(w.ctx, events.PageQuery{})
	if err != nil || len(list.Dead) != 1 || !list.Dead[0].Replayed {
		t.Errorf("%+v, %v; want it replayed though the replay waits", list, err)
	}
	if err := w.sim.Finish(first.TaskID); err != nil {
		t.Fatal(err)
	}
	if ev := w.await("a-r1"); ev.ReplayOf != "a" {
		t.Errorf("got %+v", ev)
	}
	if id, err := w.client.Replay(w.ctx, "a"); err != nil || id != "a-r2" {
		t.Errorf("%s, %v", id, err)
	}
	w.await("a-r2")
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 4 {
		t.Errorf("%d completions, want those of a, first, a-r1 and a-r2", n)
	}
}

func TestReplayOfALongID(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	for _, id := range []string{strings.Repeat("x", 125), strings.Repeat("y", 126)} {
		w.rejected(id, nil)
	}
	if id, err := w.client.Replay(w.ctx, strings.Repeat("x", 125)); err != nil || len(id) != events.MaxRequestID {
		t.Errorf("%q, %v", id, err)
	}
	_, err := w.client.Replay(w.ctx, strings.Repeat("y", 126))
	wantRefusal(t, err, 400)
}

// TestImplausibleReplayOf has users name what they replay, as only replays should.
func TestImplausibleReplayOf(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	for id, replayOf := range map[string]string{"a": strings.Repeat("x", 129), "b": "\xff", "c": "plausible"} {
		msg := w.message(id, "a")
		msg.Header.Set(events.HeaderReplayOf, replayOf)
		if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
			t.Fatal(err)
		}
		want := ""
		if id == "c" {
			want = replayOf
		}
		if ev := w.await(id); ev.ReplayOf != want || ev.Status != events.StatusSucceed {
			t.Errorf("got %+v", ev)
		}
	}
}
