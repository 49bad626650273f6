package bridge_test

import (
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// TestNothingOutlivesRun stops a bridge in the middle of a callback that JetStream is not there to store.
func TestNothingOutlivesRun(t *testing.T) {
	server := bustest.Start(t)
	w := start(t, setup{natsURL: server.URL(), sim: silent(), bridge: bridge.Options{ShutdownTimeout: time.Millisecond}})
	task := w.task("text2video", "cut-off")
	server.Stop()
	var posting sync.WaitGroup
	posting.Go(func() {
		resp, err := noRedirects.Post(task.CallbackURL, "application/json", strings.NewReader(v1Body(task, "succeed")))
		if err == nil {
			_ = resp.Body.Close()
		}
		if err == nil && resp.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("the callback was answered %d", resp.StatusCode)
		}
	})
	w.eventually("the callback is being stored", handlesCallback)
	w.replicas[0].stop()
	if handlesCallback() {
		t.Error("the callback is still being handled")
	}
	posting.Wait()
}

// TestNATSGoesAwayDuringTheStart loses the connection when all is set up but what is in flight is not yet counted.
func TestNATSGoesAwayDuringTheStart(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	w := start(t, setup{natsURL: server.URL()})
	l := newLink(t, strings.TrimPrefix(server.URL(), "nats://"))
	t.Cleanup(l.close)
	l.breakAtNth(regexp.MustCompile(`"subjects_filter":"kling-state`), 1, func() {})
	w.urls = l.url()
	w.startBridge(setup{})
}

// handlesCallback reports whether some goroutine of this process is at work on a callback.
func handlesCallback() bool {
	stacks := make([]byte, 4<<20)
	return strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "callback.(*Live).observe(")
}
