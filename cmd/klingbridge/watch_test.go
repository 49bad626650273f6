package main

import (
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

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

// TestWatchEnds runs watch without ever interrupting it.
func TestWatchEnds(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	b.progress("good")
	b.progress("bad")
	b.complete(success("good"))
	b.complete(event("bad", events.StatusExpired))
	for name, c := range map[string]struct {
		args   string
		code   int
		lines  int
		stderr string
	}{
		"succeed":                  {"--id good", 0, 2, ""},
		"expired":                  {"--id bad", 1, 2, ""},
		"only the progress":        {"--id bad --status submitted", 1, 1, "request bad: expired\n"},
		"of another kind":          {"--id good --kind effects", 0, 0, "request good: succeed\n"},
		"ended before that":        {"--id good --since 2100-01-01T00:00:00Z", 0, 0, "request good: succeed\n"},
		"count":                    {"--since 1h --count 3", 0, 3, ""},
		"count of those that fail": {"--since 1h --count 1 --status expired", 0, 1, ""},
		"count before the end":     {"--id bad --count 1", 0, 1, ""},
		"count with the end":       {"--id bad --count 2", 1, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(t.Context(), b.environ(), "", append([]string{"watch"}, strings.Fields(c.args)...)...)
			if lines := strings.Count(got.stdout, "\n"); got.code != c.code || lines != c.lines || got.complaints() != c.stderr {
				t.Errorf("exit %d, want %d; %d lines, want %d; stderr %q, want %q:\n%s",
					got.code, c.code, lines, c.lines, got.stderr, c.stderr, got.stdout)
			}
		})
	}
}

// TestWatchInterrupted waits in vain for an end: to say that all went well would be wrong.
func TestWatchInterrupted(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	b.progress("open")
	for _, args := range []string{"--id open", "--since 1h --count 2"} {
		ctx, interrupt := context.WithCancel(t.Context())
		stdout, stderr := newSignalBuffer("submitted"), &strings.Builder{}
		done := make(chan int)
		go func() {
			done <- run(ctx, append([]string{"watch"}, strings.Fields(args)...), b.environ(), strings.NewReader(""), stdout, stderr)
		}()
		<-stdout.seen
		interrupt()
		if code := <-done; code != 1 || stderr.String() != "klingbridge: interrupted\n" {
			t.Errorf("%s: exit %d: %s", args, code, stderr)
		}
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
			t.Parallel()
			got := watchUntil(t, b, `"b2"`, append(args, "--json", "--since", "2020-01-01T00:00:00Z")...)
			want, err := json.Marshal(last)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want)+"\n" {
				t.Errorf("printed %q, want %q", got, want)
			}
		})
	}
}

// TestWatchSaysWhyATaskIsMadeAgain has a task fail that is made again: each try costs.
func TestWatchSaysWhyATaskIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	e := event("order-1", events.StatusRetrying)
	e.Message = "the lamp is broken"
	b.publish(b.subjects.Progress(e.Kind, e.Status, e.RequestID), e)
	got := execute(t.Context(), b.environ(), "", "watch", "--since", "1h", "--count", "1")
	if got.code != 0 || !strings.Contains(got.stdout, "retrying    text2video  order-1  the lamp is broken\n") {
		t.Errorf("%+v", got)
	}
}

// TestWatchSaysThatNothingIsKnown watches for a request that is yet to come: its id might as well be misspelt.
func TestWatchSaysThatNothingIsKnown(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	open(t, environ, "dev", "--task-time", "50ms", "--submitted-time", "10ms")
	const says = "nothing is known of request order-1; waiting for its first event\n"
	stderr, done := newSignalBuffer(says), make(chan int, 1)
	go func() {
		done <- run(t.Context(), []string{"watch", "--id", "order-1"}, environ, strings.NewReader(""), io.Discard, stderr)
	}()
	select {
	case <-stderr.seen:
	case <-time.After(patience):
		t.Fatalf("says %q", stderr)
	}
	got := execute(t.Context(), environ, "", "submit", "text2video", "--prompt", "a", "--id", "order-1", "--wait")
	if code := <-done; code != 0 || got.code != 0 {
		t.Errorf("exit %d, %q; submit: %+v", code, stderr, got)
	}
	if got := execute(t.Context(), environ, "", "watch", "--id", "order-1"); got.code != 0 || got.complaints() != "" {
		t.Errorf("of one that is known: %+v", got)
	}
}
