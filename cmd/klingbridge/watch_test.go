package main

import (
	"context"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/events"
)

// watchUntil runs watch until it has printed the text, and returns what it printed.
func watchUntil(t *testing.T, b *fakeBridge, text string, args ...string) string {
	t.Helper()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stdout := newSignalBuffer(text)
	done := make(chan int)
	go func() {
		done <- run(ctx, append([]string{"watch"}, args...), b.environ(), strings.NewReader(""), stdout, &strings.Builder{})
	}()
	<-stdout.seen
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("exit %d after an interrupt, want 0", code)
	}
	return stdout.String()
}

func TestWatch(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	rejected := event("a2\x1b[2J", events.StatusRejected) // an id that would clear the terminal
	rejected.Error = &events.Error{Class: events.ErrorInvalid, Message: "no prompt"}
	b.progress("a1")
	b.complete(success("a1", "https://cdn.example/a1.mp4"))
	b.complete(rejected)

	all := watchUntil(t, b, "no prompt", "--since", "1h")
	lines := strings.Split(strings.TrimSpace(all), "\n")
	if len(lines) != 3 || !strings.Contains(lines[0], "submitted") ||
		!strings.Contains(lines[1], "https://cdn.example/a1.mp4") || !strings.Contains(lines[2], "invalid: no prompt") {
		t.Errorf("printed:\n%s", all)
	}
	if strings.Contains(all, "\x1b") {
		t.Errorf("an escape sequence got through: %q", all)
	}
}

func TestWatchFilters(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	b.progress("b1")
	b.complete(success("b1"))
	last := success("b2")
	b.complete(last)
	for name, args := range map[string][]string{
		"id":     {"--id", "b2"},
		"status": {"--status", "succeed", "--id", "b2"},
		"kind":   {"--kind", "text2video", "--id", "b2"},
	} {
		t.Run(name, func(t *testing.T) {
			got := watchUntil(t, b, `"b2"`, append(args, "--json", "--since", "2020-01-01T00:00:00Z")...)
			want, err := last.Encode()
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want)+"\n" {
				t.Errorf("printed %q, want %q", got, want)
			}
		})
	}
}
