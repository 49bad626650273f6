package create

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// TestStaleReadIsNoRepeat delivers the message of a next try again while the server answers with the record from before it, as one
// may that does not know yet that it no longer leads. It was taken for a repeat of the request and acked. One that only says that
// it goes on with a next try is a repeat, once no read can be as old as that.
func TestStaleReadIsNoRepeat(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	conn, err := bus.Open(t.Context(), bus.Options{URL: bustest.Start(t).URL(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	s, js := subjects.Default(), conn.JetStream()
	config := store.EventsStream(s, time.Hour)
	config.Storage = jetstream.FileStorage
	if err := conn.EnsureStream(t.Context(), config, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "R", Subjects: []string{"r"}, Retention: jetstream.WorkQueuePolicy}); err != nil {
		t.Fatal(err)
	}
	if _, err := js.PublishMsg(t.Context(), nats.NewMsg("r")); err != nil {
		t.Fatal(err)
	}
	consumer, err := js.CreateConsumer(t.Context(), "R", jetstream.ConsumerConfig{Durable: "r", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	msg, err := consumer.Next()
	if err != nil {
		t.Fatal(err)
	}
	kind, _ := kling.DefaultKinds().Lookup("text2video")
	c := &Creator{Log: quiet, Store: &store.Store{Bus: conn, Subjects: s, Kinds: kling.DefaultKinds(), Retention: time.Hour, Log: quiet}}
	first := &request.Request{ID: "order", Token: "order", Kind: kind, Sequence: 1, Deadline: time.Now().Add(time.Hour)}
	rec := store.NewRecord(first, kling.DefaultAccount, "order", store.Send{Claim: "a"}, telemetry.Trace{})
	if _, err := c.Store.Arm(t.Context(), rec, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	next := *first
	next.Sequence, next.Fence = 9, "fence"
	j := &attempt{Job: &dispatch.Job{Msg: msg, Req: &next}}
	for range 2 {
		if _, _, err := c.ours(t.Context(), j); !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("%v, want an error that brings the message back", err)
		}
	}
	if left, err := js.Stream(t.Context(), "R"); err != nil || left.CachedInfo().State.Msgs != 1 {
		t.Errorf("%+v, %v; want the message in the stream", left.CachedInfo().State, err)
	}
	j.behindAt = time.Now().Add(-maxBehind)
	if e, result, err := c.ours(t.Context(), j); e != nil || err != nil || result != dispatch.Settled() {
		t.Errorf("%+v, %+v, %v; want a repeat", e, result, err)
	}
}
