package main

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/events"
)

// TestSubmitSaysWhyNotReady asks a bridge that is not ready, when it is waited for and when it takes nothing.
func TestSubmitSaysWhyNotReady(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	asked := make(chan struct{}, 100)
	service, err := micro.AddService(b.js.Conn(), micro.Config{Name: "klingbridge", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = service.Stop() }() // the connection is closed next
	answer := micro.HandlerFunc(func(r micro.Request) {
		_ = r.RespondJSON(events.BridgeStatus{Reasons: []string{"nats: the disk is full", "kling: code 1002"}})
		asked <- struct{}{}
	})
	if err := service.AddEndpoint("status", answer, micro.WithEndpointSubject(b.subjects.API(events.EndpointStatus))); err != nil {
		t.Fatal(err)
	}
	b.flush()
	const reason = "the bridge is not ready: nats: the disk is full; kling: code 1002\n"

	if got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x"); got.code != 0 || len(asked) > 0 {
		t.Errorf("stored at once: exit %d, asked %d times: %s", got.code, len(asked), got.stderr)
	}
	done := make(chan outcome, 1)
	go func() {
		done <- execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "waits", "--wait")
	}()
	select {
	case <-asked:
	case <-time.After(patience):
		t.Error("the bridge is not asked")
	}
	b.complete(success("waits", "https://cdn.example.com/a.mp4"))
	if got := <-done; got.code != 0 || strings.Count(got.stderr, reason) != 1 {
		t.Errorf("waited for: exit %d: %s", got.code, got.stderr)
	}

	stream := b.requestStream()
	config := stream.CachedInfo().Config
	config.MaxMsgs, config.Discard = 1, jetstream.DiscardNew
	if _, err := b.js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x")
	if got.code != 1 || strings.Count(got.stderr, reason) != 1 || !strings.Contains(got.stderr, "is full") {
		t.Errorf("refused: exit %d: %s", got.code, got.stderr)
	}
}
