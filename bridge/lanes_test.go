package bridge_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// runs starts another replica and returns why it ends, or nil once it is ready.
func (w *world) runs(s setup) error {
	w.t.Helper()
	r := &running{}
	b := w.newBridge(s, r)
	ctx, cancel := context.WithTimeoutCause(w.ctx, patience, errors.New("neither ready nor ended"))
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx) }()
	var err error
	over := false
	w.eventually("the replica is ready or has ended", func() bool {
		select {
		case err = <-ended:
			over = true
		default:
		}
		status, _ := get(w.t, r.adminURL+"/readyz")
		return over || status == http.StatusOK
	})
	if !over {
		cancel()
		err = <-ended
	}
	return err
}

func kindsWith(t *testing.T, extra string) kling.Kinds {
	t.Helper()
	kinds, err := kling.DefaultKinds().With(extra)
	if err != nil {
		t.Fatal(err)
	}
	return kinds
}

func (w *world) lane(name string) bool {
	w.t.Helper()
	_, err := w.js.Consumer(w.ctx, "KLING_REQUESTS", name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		w.t.Fatal(err)
	}
	return err == nil
}

// TestKindMovesToAnotherPool restarts a bridge with a kind in another pool, and with a pool that no kind is in any more.
// Recorded: the second start ended with "filtered consumer not unique on workqueue stream".
func TestKindMovesToAnotherPool(t *testing.T) {
	t.Parallel()
	before := kindsWith(t, "new=/v1/videos/new:extra")
	after := kindsWith(t, "new=/v1/videos/new:image,effects=/v1/videos/effects:image,text-to-video=/text-to-video/{model}:image")
	w := start(t, setup{sim: klingtest.Options{Kinds: before}, bridge: bridge.Options{Kinds: before}})
	w.await(w.submit("before", "a"))
	if !w.lane("extra-v1-normal") {
		t.Fatal("the pool has no consumer")
	}
	w.replicas[0].stop()
	waiting := []string{
		w.request(testRequest{Kind: "new", ID: "waits-1", Body: body(map[string]any{"prompt": "a"})}),
		w.request(testRequest{Kind: "effects", ID: "waits-2", Body: body(coreBodies["effects"])}),
	}
	for _, kinds := range []kling.Kinds{after, before, after} { // forth, back, and forth again
		r := w.startBridge(setup{bridge: bridge.Options{Kinds: kinds}})
		for _, id := range append(waiting, w.submit("", "a")) {
			if ev := w.await(id); ev.Status != events.StatusSucceed {
				t.Errorf("%s ended as %s: %+v", id, ev.Status, ev.Error)
			}
		}
		r.stop()
	}
	if w.lane("extra-v1-normal") || w.lane("extra-v1-high") || w.lane("extra-v1-low") {
		t.Error("consumers of a pool without kinds are left")
	}
	if n := len(w.sim.Tasks()); n != 6 {
		t.Errorf("%d tasks for 6 requests", n)
	}
}

// TestReplicasOfTwoVersions has replicas disagree over the pool of a kind while they are replaced.
func TestReplicasOfTwoVersions(t *testing.T) {
	t.Parallel()
	old, moved := kling.DefaultKinds(), kindsWith(t, "text2video=/v1/videos/text2video:image")
	w := start(t, setup{})
	for _, kinds := range []kling.Kinds{moved, old, moved} {
		w.startBridge(setup{bridge: bridge.Options{Kinds: kinds}})
		if ev := w.await(w.submit("", "a")); ev.Status != events.StatusSucceed {
			t.Errorf("ended as %s", ev.Status)
		}
	}
	if n := len(w.sim.Tasks()); n != 3 {
		t.Errorf("%d tasks for 3 requests", n)
	}
	w.settledDown()
}

// TestStrangersConsumer names a consumer that takes requests away, rather than retry for ever.
func TestStrangersConsumer(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	w.replicas[0].stop()
	for name := range mustList(w) {
		if err := w.js.DeleteConsumer(w.ctx, "KLING_REQUESTS", name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.js.CreateConsumer(w.ctx, "KLING_REQUESTS", jetstream.ConsumerConfig{
		Durable: "audit", FilterSubject: "kling.request.>", AckPolicy: jetstream.AckExplicitPolicy,
	}); err != nil {
		t.Fatal(err)
	}
	err := w.runs(setup{})
	if _, conflict := errors.AsType[*bus.ConflictError](err); !conflict || !strings.Contains(err.Error(), "consumer audit takes kling.request.>") {
		t.Errorf("got %v, want a conflict that names it", err)
	}
}

// mustList returns the consumers of requests by name.
func mustList(w *world) map[string]bool {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, "KLING_REQUESTS")
	if err != nil {
		w.t.Fatal(err)
	}
	list, names := s.ConsumerNames(w.ctx), map[string]bool{}
	for name := range list.Name() {
		names[name] = true
	}
	if err := list.Err(); err != nil {
		w.t.Fatal(err)
	}
	return names
}
