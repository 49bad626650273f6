package main

import (
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/events"
)

func TestSubmitAKnownID(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	b.progress("k1")
	b.complete(success("k1", "https://cdn.example/a.mp4"))
	for _, args := range [][]string{nil, {"--wait"}} {
		args = append([]string{"submit", "text2video", "--prompt", "x", "--id", "k1"}, args...)
		got := execute(t.Context(), b.environ(), "", args...)
		if got.code != 0 || !strings.Contains(got.stderr, "request k1 was sent before, at 20") ||
			!strings.Contains(got.stderr, "its status is succeed and nothing new is created") ||
			strings.Contains(got.stderr, "is stored") {
			t.Errorf("%v: exit %d, stderr %q", args, got.code, got.stderr)
		}
	}
	b.progress("k2")
	got := execute(t.Context(), b.environ(), "", "submit", "effects", "--prompt", "x", "--id", "k2", "--wait")
	if got.code != 1 || !strings.Contains(got.stderr, `request id "k2" is that of an earlier request, of kind text2video`) {
		t.Errorf("another kind: exit %d, stderr %q", got.code, got.stderr)
	}
}

// TestSubmitAnIDThatWaits reuses the id of a request of which nothing is heard yet.
func TestSubmitAnIDThatWaits(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	stderr := newSignalBuffer("is stored")
	done := make(chan int)
	go func() {
		args := []string{"submit", "text2video", "--prompt", "x", "--id", "k3", "--wait"}
		done <- run(t.Context(), args, b.environ(), strings.NewReader(""), &strings.Builder{}, stderr)
	}()
	<-stderr.seen
	e := event("k3", events.StatusSucceed)
	e.Kind = "effects"
	b.complete(e)
	if code := <-done; code != 1 || !strings.Contains(stderr.String(), "of kind effects") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}
