package bridge_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// TestUnusableRequestIDs gives different requests ids that look alike once they are shortened.
func TestUnusableRequestIDs(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	long := strings.Repeat("A", 128)
	for _, id := range []string{long + "0", long + "1", long + "1", "a\xff", "a\xfe"} {
		if _, err := w.js.PublishMsg(w.ctx, w.message(id, "a")); err != nil {
			t.Fatal(err)
		}
	}
	w.settledDown()
	for _, stream := range []string{"KLING_EVENTS", "KLING_DEAD"} {
		filter := "kling.completion.*.rejected.*"
		if stream == "KLING_DEAD" {
			filter = "kling.dead.>"
		}
		stored := w.stored(stream, filter)
		if len(stored) != 4 {
			t.Errorf("%s: %d messages about 4 unusable ids, one of them sent twice", stream, len(stored))
		}
		for _, m := range stored {
			if p, _ := subjects.Default().Parse(m.Subject); p.Token != events.Token(m.Header.Get(events.HeaderRequestID)) {
				t.Errorf("%s speaks of %q", m.Subject, m.Header.Get(events.HeaderRequestID))
			}
		}
	}
}

// TestDeadLetterSurvivesItsHeaders rejects a request whose headers leave no room for the reason.
func TestDeadLetterSurvivesItsHeaders(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	msg := w.message("headers", "[policy]")
	msg.Header.Set("X-Huge", strings.Repeat("x", 60<<10))
	msg.Header.Set("X-Small", "kept")
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		t.Fatal(err)
	}
	w.await("headers")
	w.settledDown()
	dead := w.stored("KLING_DEAD", "kling.dead.>")
	if len(dead) != 1 || dead[0].Header.Get("X-Small") != "kept" || dead[0].Header.Get(events.HeaderErrorOmitted) != "1" {
		t.Fatalf("%d dead letters", len(dead))
	}
}

// TestDeadLetterIsOwed takes the stream of dead letters away while a request is rejected.
func TestDeadLetterIsOwed(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	s, err := w.js.Stream(w.ctx, "KLING_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	small := config
	small.MaxMsgSize = 1 // no dead letter fits
	if _, err := w.js.UpdateStream(w.ctx, small); err != nil {
		t.Fatal(err)
	}
	w.submit("owed", "[policy]")
	w.await("owed")
	if _, err := w.js.UpdateStream(w.ctx, config); err != nil {
		t.Fatal(err)
	}
	w.settledDown()
	if n := w.count("KLING_DEAD", "kling.dead.*.*.owed"); n != 1 {
		t.Errorf("%d dead letters, want the one that could not be stored at first", n)
	}
}

// TestRefusalAfterUnknownOutcome has a create call of unknown outcome and then one that is certainly refused: only the
// first has a lookup window.
func TestRefusalAfterUnknownOutcome(t *testing.T) {
	t.Parallel()
	const window = 3 * time.Second
	w := start(t, setup{
		sim: klingtest.Options{Faults: klingtest.Faults{Create: func(v klingtest.CreateView) klingtest.Fault {
			switch v.Seen {
			case 0:
				return klingtest.Error500NoTask
			case 1:
				return klingtest.TooFast1302
			default:
				return nil
			}
		}}},
		bridge: bridge.Options{LookupWindow: window},
	})
	began := time.Now()
	if ev := w.await(w.submit("twice", "a")); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
	if took := time.Since(began); took < window || took > 2*window {
		t.Errorf("took %s, want one window of %s and a wait of at most 1 s", took, window)
	}
}

// TestTaskAppearsAfterARefusal has a create call make a task whose reply is lost and which can't be queried for a while, and
// the next one certainly refused. What is known of the first must survive that, or the task's own external id would have
// the request rejected.
func TestTaskAppearsAfterARefusal(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{
			QueryLag: 1200 * time.Millisecond,
			Faults: klingtest.Faults{Create: func(v klingtest.CreateView) klingtest.Fault {
				switch v.Seen {
				case 0:
					return klingtest.ResetAfterStore
				case 1:
					return klingtest.TooFast1302
				default:
					return nil
				}
			}, Callback: func(klingtest.CallbackView) klingtest.CallbackFault { return klingtest.CallbackFault{Lose: true} }},
		},
		bridge: bridge.Options{LookupWindow: 800 * time.Millisecond, PollAfter: 100 * time.Millisecond},
	})
	if ev := w.await(w.submit("slow", "a")); ev.Status != events.StatusSucceed {
		t.Errorf("got %s: %v", ev.Status, ev.Error)
	}
	if n := len(w.sim.Tasks()); n != 1 {
		t.Errorf("%d tasks, want 1", n)
	}
}

// TestLookupHoldsUpNobody leaves one create call without an answer while others come.
func TestLookupHoldsUpNobody(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{Faults: klingtest.Faults{Create: func(v klingtest.CreateView) klingtest.Fault {
			if strings.Contains(v.Prompt, "unknown") {
				return klingtest.Error500NoTask
			}
			return nil
		}}},
		bridge: bridge.Options{LookupWindow: time.Hour},
	})
	w.submit("u", "unknown")
	w.eventually("the first outcome is unknown", func() bool { return w.sim.Calls().Creates == 1 })
	for i := range 5 {
		if ev := w.await(w.submit(fmt.Sprintf("n-%d", i), "a")); ev.Status != events.StatusSucceed {
			t.Errorf("got %+v", ev)
		}
	}
}

// TestConsumerIsMadeAgain deletes the consumers under a running bridge.
func TestConsumerIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{Callbacks: klingtest.None}, bridge: bridge.Options{PollAfter: 200 * time.Millisecond},
	})
	for stream, consumer := range map[string]string{"KLING_REQUESTS": "video-v1-normal", "KLING_EVENTS": "polls"} {
		if err := w.js.DeleteConsumer(w.ctx, stream, consumer); err != nil {
			t.Fatal(err)
		}
	}
	if ev := w.await(w.submit("after", "a")); ev.Source != events.SourcePoll {
		t.Errorf("got %+v", ev)
	}
}

// TestLateResultByQuery lets Kling report a result after the deadline where callbacks are not trusted.
func TestLateResultByQuery(t *testing.T) {
	t.Parallel()
	o := silent()
	w := start(t, setup{sim: o, bridge: bridge.Options{CallbackTrust: callback.TrustQuery}})
	w.request(testRequest{Kind: "text2video", ID: "late", Timeout: time.Second, Body: body(map[string]any{"prompt": "a"})})
	if err := w.sim.WaitTasks(w.ctx, 1); err != nil {
		t.Fatal(err)
	}
	task := w.sim.Tasks()[0]
	w.await("late")
	w.settledDown()
	if err := w.sim.Finish(task.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusOK {
			t.Fatalf("got %d", got)
		}
		w.eventually("the late result is published", func() bool { return w.count("KLING_EVENTS", "kling.late.*.succeed.late") == 1 })
		w.settledDown()
	}
}

// TestPollRefusesAnotherTask has Kling give the id of a task to another one, as one that was reset might.
func TestPollRefusesAnotherTask(t *testing.T) {
	t.Parallel()
	var log logBuffer
	w := start(t, setup{
		sim: silent(), bridge: bridge.Options{
			PollAfter: 300 * time.Millisecond, PollMinInterval: 200 * time.Millisecond, PollMaxInterval: 200 * time.Millisecond,
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		},
	})
	mine, other := w.task("text2video", "mine"), w.task("text2video", "other")
	if err := w.sim.Finish(other.ID); err != nil {
		t.Fatal(err)
	}
	var e []*bus.Message
	w.eventually("the record is there", func() bool { // not while a poll sets its timer anew
		e = w.stored("KLING_EVENTS", "kling-state.pending.*.*.mine")
		return len(e) == 1
	})
	forged := nats.NewMsg("kling-put.kling-state.due.text2video.video.mine")
	forged.Data = bytes.ReplaceAll(e[0].Data, []byte(mine.ID), []byte(other.ID))
	if _, err := w.js.PublishMsg(w.ctx, forged); err != nil {
		t.Fatal(err)
	}
	w.eventually("the poll is refused", func() bool { return strings.Contains(log.String(), "has the external id") })
	if n := w.count("KLING_EVENTS", "kling.completion.*.*.mine"); n != 0 {
		t.Error("a request got another's result")
	}
}

// TestObjectsAreBounded refers to one object many times, and to ones that are not there.
func TestObjectsAreBounded(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{MaxInlineBytes: 1000}})
	store, err := w.js.CreateObjectStore(w.ctx, jetstream.ObjectStoreConfig{Bucket: "in"})
	if err != nil {
		t.Fatal(err)
	}
	for name, size := range map[string]int{"small": 10, "large": 1001} {
		if _, err := store.PutBytes(w.ctx, name, bytes.Repeat([]byte("x"), size)); err != nil {
			t.Fatal(err)
		}
	}
	submit := func(id, image string) {
		w.request(testRequest{Kind: "image2video", ID: id, Body: body(map[string]any{"image": image, "prompt": "a"})})
	}
	submit("ok", "nats-object://in/small")
	submit("large", "nats-object://in/large")
	submit("missing", "nats-object://in/nothing")
	submit("no-bucket", "nats-object://nowhere/small")
	many := make([]string, 40)
	for i := range many {
		many[i] = "nats-object://in/small"
	}
	w.request(testRequest{Kind: "image2video", ID: "many", Body: body(map[string]any{"image": "x", "element_list": many})})
	if ev := w.await("ok"); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
	for _, id := range []string{"large", "missing", "no-bucket", "many"} {
		if ev := w.await(id); ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInput {
			t.Errorf("%s: %+v", id, ev)
		}
	}
	if got := string(w.sim.Tasks()[0].Body); !strings.Contains(got, `"image":"eHh4eHh4eHh4eA=="`) {
		t.Errorf("Kling got %s", got)
	}
}

// TestBodyOfAWrongURLIsNotWaitedFor promises a body to a URL that does not exist and never sends it.
func TestBodyOfAWrongURLIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	conn, err := new(net.Dialer).DialContext(w.ctx, "tcp", strings.TrimPrefix(w.replicas[0].callbackURL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	began := time.Now()
	fmt.Fprint(conn, "POST /wrong HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 404 ")) {
		t.Errorf("got %q, %v", answer, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the connection was held for %s", took)
	}
}

// TestUnprovenBodiesAreBounded stalls many bodies on the route that anybody may use. Tasks' own callbacks are taken.
func TestUnprovenBodiesAreBounded(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Adopt: true}})
	task := w.task("text2video", "mine")
	addr := strings.TrimPrefix(w.replicas[0].callbackURL, "http://")
	for range 64 {
		conn, err := new(net.Dialer).DialContext(w.ctx, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		fmt.Fprint(conn, "POST /callbacks/text2video HTTP/1.1\r\nHost: x\r\nContent-Length: 250000\r\n\r\n{")
	}
	w.eventually("the route is busy", func() bool {
		return w.post(bare(task.CallbackURL), v1Body(task, "succeed")) == http.StatusServiceUnavailable
	})
	if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusOK {
		t.Errorf("a task's own callback: %d", got)
	}
}
