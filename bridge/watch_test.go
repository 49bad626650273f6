package bridge_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/subjects"
)

// readiness returns the status and the body of /readyz.
func (w *world) readiness(r *running) (status int, body string) {
	w.t.Helper()
	return get(w.t, r.adminURL+"/readyz")
}

// awaitReasons waits until /readyz is 503 and says all of it.
func (w *world) awaitReasons(r *running, texts ...string) {
	w.t.Helper()
	w.eventually("readiness says "+strings.Join(texts, ", "), func() bool {
		status, body := w.readiness(r)
		for _, text := range texts {
			if status != http.StatusServiceUnavailable || !strings.Contains(body, text) {
				return false
			}
		}
		return true
	})
}

// TestStreamsDisappear deletes every stream under a running bridge: it is not ready, makes them anew with the namespace and
// the secret that it works with, and goes on.
func TestStreamsDisappear(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	s := subjects.Default()
	w.submit("before", "a")
	w.await("before")
	setting := func(name string) string {
		stream, err := w.js.Stream(w.ctx, s.SettingsStream())
		if err != nil {
			return err.Error()
		}
		m, err := stream.GetLastMsgForSubject(w.ctx, s.Setting(name))
		if err != nil {
			return err.Error()
		}
		return string(m.Data)
	}
	namespace, secret := setting("namespace"), setting("callback-secret")
	for _, stream := range []string{s.EventsStream(), s.RequestsStream(), s.DeadStream(), s.SettingsStream()} {
		if err := w.js.DeleteStream(w.ctx, stream); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the settings are there again", func() bool {
		return setting("namespace") == namespace && setting("callback-secret") == secret
	})
	w.waitReady(w.replicas[0])
	w.submit("after", "a")
	w.await("after")
	w.noViolations()
}

// TestStoreTakesNothing lets a stream refuse all that is published: the bridge is not ready while nothing can be stored, although nobody
// asks it to store anything, and is ready again by itself.
func TestStoreTakesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	r := w.replicas[0]
	stream, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	full := config
	full.MaxMsgSize = 1 // whatever is published is refused
	if _, err := w.js.UpdateStream(w.ctx, full); err != nil {
		t.Fatal(err)
	}
	w.awaitReasons(r, `"component":"nats"`, "publishing below kling-put fails")
	if _, err := w.js.UpdateStream(w.ctx, config); err != nil {
		t.Fatal(err)
	}
	w.waitReady(r)
}

// TestConsumerDisappears deletes the consumers of a running bridge, which makes them anew.
func TestConsumerDisappears(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	for _, stream := range []string{"KLING_REQUESTS", "KLING_EVENTS"} {
		s, err := w.js.Stream(w.ctx, stream)
		if err != nil {
			t.Fatal(err)
		}
		for name := range s.ConsumerNames(w.ctx).Name() {
			if err := w.js.DeleteConsumer(w.ctx, stream, name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
				t.Fatal(err)
			}
		}
	}
	w.submit("after", "a")
	w.await("after")
}
