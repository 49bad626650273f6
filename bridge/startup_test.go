package bridge_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

func TestReadiness(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	w := start(t, setup{natsURL: srv.URL(), bridge: bridge.Options{ProbeInterval: 50 * time.Millisecond}})
	admin := w.startBridge(setup{bridge: bridge.Options{ProbeInterval: 50 * time.Millisecond}}).adminURL
	if status, _ := get(t, admin+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	srv.Stop()
	w.eventually("readiness names NATS", func() bool { return notReady(t, admin, "nats") })
	srv.Restart()
	w.eventually("it is ready again", func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK })
	if status, _ := get(t, admin+"/callbacks/text2video"); status != http.StatusNotFound {
		t.Errorf("callbacks on the admin listener: %d", status)
	}
}

func notReady(t *testing.T, admin, component string) bool {
	t.Helper()
	status, text := get(t, admin+"/readyz")
	var answer struct {
		Ready   bool
		Reasons []struct{ Component, Reason string }
	}
	if status != http.StatusServiceUnavailable || json.Unmarshal([]byte(text), &answer) != nil || answer.Ready {
		return false
	}
	return slices.ContainsFunc(answer.Reasons, func(r struct{ Component, Reason string }) bool {
		return r.Component == component && r.Reason != ""
	})
}

// TestBeforeNATSIsThere starts a bridge whose NATS server is not up yet.
func TestBeforeNATSIsThere(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	url := srv.URL()
	srv.Stop()
	w := &world{t: t, ctx: t.Context(), urls: url}
	w.startSim(klingtest.Options{})
	r := w.launch(setup{})
	w.eventually("it says why it is not ready", func() bool { return notReady(t, r.adminURL, "nats") })
	if status, _ := get(t, r.adminURL+"/healthz"); status != http.StatusOK {
		t.Errorf("healthz: %d", status)
	}
	if got := w.post(r.callbackURL+"/callbacks/text2video/a/b", "{}"); got != http.StatusServiceUnavailable {
		t.Errorf("callback: %d, want 503", got)
	}
	srv.Restart()
	w.waitReady(r)
	w.connect()
	if ev := w.await(w.submit("patient", "a")); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
}

func TestStreamInTheWayStopsTheBridge(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	w := &world{t: t, ctx: t.Context(), urls: srv.URL()}
	w.startSim(klingtest.Options{})
	w.connect()
	if _, err := w.js.CreateStream(w.ctx, streamInTheWay); err != nil {
		t.Fatal(err)
	}
	b := w.newBridge(setup{}, &running{})
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	err := b.Run(ctx)
	if err == nil || !strings.Contains(err.Error(), "KLING_EVENTS") || !strings.Contains(err.Error(), "left alone") {
		t.Errorf("got %v", err)
	}
}
