package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/events"
)

// TestHostileHeaders publishes requests whose headers mean something to a NATS server.
func TestHostileHeaders(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	many := map[string]string{}
	for i := range 400 {
		many[fmt.Sprintf("Name-%d", i)] = strings.Repeat("x", 64)
	}
	w.request(testRequest{Kind: "text2video", ID: "much", Body: body(map[string]any{"prompt": "a"}), Metadata: many})
	if ev := w.await("much"); ev.Status != events.StatusRejected || len(ev.Metadata) > 0 {
		t.Errorf("25 KB of metadata: %s with %d names", ev.Status, len(ev.Metadata))
	}
	msg := w.message("hostile", "[policy]")
	// Roll-ups, schedules and times to live are refused at the publisher already, by a stream without them.
	msg.Header["Nats-Expected-Stream"] = []string{"KLING_REQUESTS"}
	msg.Header["nats-ttl"] = []string{"1s"}
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		t.Fatal(err)
	}
	if ev := w.await("hostile"); ev.Status != events.StatusRejected {
		t.Errorf("got %s", ev.Status)
	}
	w.settledDown()
	dead := w.stored("KLING_DEAD", "kling.dead.*.*.hostile")
	if len(dead) != 1 || dead[0].Header.Get("Nats-Expected-Stream") != "" {
		t.Errorf("dead letters %+v", dead)
	}
}

// TestLargestRequest publishes the largest request the stream takes, which must be able to end as a dead letter.
func TestLargestRequest(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	s, err := w.js.Stream(w.ctx, "KLING_REQUESTS")
	if err != nil {
		t.Fatal(err)
	}
	largest := int(s.CachedInfo().Config.MaxMsgSize)
	request := func(id string, size int) error {
		msg := w.message(id, "[policy]")
		frame := len(`{"prompt":"[policy]","x":""}`)
		msg.Data = []byte(`{"prompt":"[policy]","x":"` + strings.Repeat("x", size-frame) + `"}`)
		_, err := w.js.PublishMsg(w.ctx, msg)
		return err
	}
	if err := request("fits", largest-128); err != nil {
		t.Fatal(err)
	}
	if err := request("does-not", largest); err == nil {
		t.Error("a request was taken that could not become a dead letter")
	}
	if ev := w.await("fits"); ev.Status != events.StatusRejected {
		t.Errorf("got %s", ev.Status)
	}
	w.settledDown()
	if dead := w.stored("KLING_DEAD", "kling.dead.>"); len(dead) != 1 || len(dead[0].Data) != largest-128 {
		t.Errorf("%d dead letters", len(dead))
	}
}

// TestEventLargerThanAMessage completes a task whose object does not fit into a message beside what the event says.
func TestEventLargerThanAMessage(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t, func(o *server.Options) { o.MaxPayload = 128 << 10 })
	w := start(t, setup{sim: silent(), natsURL: srv.URL()})
	task := w.task("text2video", "large")
	data := strings.Replace(v1Body(task, "succeed"), "{", `{"filler":"`+strings.Repeat("x", 200<<10)+`",`, 1)
	if got := w.post(task.CallbackURL, data); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	if ev := w.await("large"); len(ev.Result.Videos) != 1 || !ev.KlingOmitted || ev.Kling != nil {
		t.Errorf("%d videos, kling of %d bytes, omitted %v", len(ev.Result.Videos), len(ev.Kling), ev.KlingOmitted)
	}
}
