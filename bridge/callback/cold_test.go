package callback

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// newColdRig is a receiver on a real server that remembers no task: all that is known of them is stored.
func newColdRig(t *testing.T) (r *rig, nc *nats.Conn) {
	t.Helper()
	srv := bustest.Start(t)
	b, err := bus.Open(t.Context(), bus.Options{URL: srv.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	r = newRigOn(t, b)
	s := r.receiver.Live.Load().Store
	config := store.EventsStream(s.Subjects, time.Hour)
	config.Replicas, config.Storage = 1, jetstream.FileStorage
	if err := b.EnsureStream(t.Context(), config, ""); err != nil {
		t.Fatal(err)
	}
	for _, rec := range r.records[:2] {
		if stored, err := s.Arm(t.Context(), rec, time.Now().Add(time.Hour)); !stored || err != nil {
			t.Fatal(stored, err)
		}
	}
	return r, srv.Connect()
}

// TestColdCallbackReadsOnce counts what is read for a callback of which the replica remembers nothing.
func TestColdCallbackReadsOnce(t *testing.T) {
	r, nc := newColdRig(t)
	reads := make(chan *nats.Msg, 10)
	for _, api := range []string{"$JS.API.STREAM.MSG.GET.KLING_EVENTS", "$JS.API.DIRECT.GET.KLING_EVENTS"} {
		if _, err := nc.ChanSubscribe(api, reads); err != nil {
			t.Fatal(err)
		}
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	r.serve(t, 0)
	_, _ = r.bus.Last(t.Context(), "KLING_EVENTS", "mark") // there is none
	for _, want := range []string{"kling-state.pending.text2video.video." + r.records[0].RequestID, "mark"} {
		if got := string(next(t, reads).Data); !strings.Contains(got, `"`+want+`"`) {
			t.Errorf("read %s, want only %s", got, want)
		}
	}
}

func next(t *testing.T, reads chan *nats.Msg) *nats.Msg {
	t.Helper()
	select {
	case msg := <-reads:
		return msg
	case <-time.After(time.Minute):
		t.Fatal("waited in vain for what was read")
		return nil
	}
}

// TestColdCallbackOfAnotherKind comes on a URL that names another kind than the request.
func TestColdCallbackOfAnotherKind(t *testing.T) {
	r, _ := newColdRig(t)
	live := r.receiver.Live.Load()
	u, err := url.Parse(live.Signer.URL("image2video", r.records[1].RequestID))
	if err != nil {
		t.Fatal(err)
	}
	r.requests[1].URL = u
	r.receiver.ServeHTTP(&r.writer, r.requests[1])
	if r.writer.status != http.StatusConflict {
		t.Errorf("answered %d, want 409", r.writer.status)
	}
	if _, _, err := live.Store.Completion(t.Context(), r.records[1].RequestID); err == nil {
		t.Error("the request has ended")
	}
}
