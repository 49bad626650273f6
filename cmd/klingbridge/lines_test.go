package main

import (
	"strings"
	"testing"
)

// TestSubmitLines has a running bridge make a result of each line but one.
func TestSubmitLines(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	open(t, environ, "dev", "--task-time", "50ms", "--submitted-time", "10ms")
	lines := `{"prompt":"a"}` + "\n\n" + `{"prompt":"[policy] b"}` + "\n" + `{"prompt":"c"}` + "\n"
	submit := func() outcome {
		return execute(t.Context(), environ, lines, "submit", "text2video", "-", "--lines", "--id", "batch", "--wait", "--meta", "Tenant=acme")
	}
	first := submit()
	if first.code != 1 || strings.Count(first.stdout, "\n") != 2 || !strings.Contains(first.stderr, "3 of 3 ended: 1 rejected, 2 succeed in ") {
		t.Errorf("got %+v", first)
	}
	for _, want := range []string{"batch-1  http", "batch-4  http"} {
		if !strings.Contains(first.stdout, want) {
			t.Errorf("no %q in %q", want, first.stdout)
		}
	}
	again := submit()
	if again.code != 1 || strings.Count(again.stdout, "\n") != 2 || !strings.Contains(again.stderr, "rejected    batch-3  ") {
		t.Errorf("again: got %+v", again)
	}
	if got := execute(t.Context(), environ, "", "task", "list", "--kind", "text2video"); strings.Count(got.stdout, "\n") != 3 {
		t.Errorf("got %+v, want three requests", got)
	}
	other := execute(t.Context(), environ, lines, "submit", "image-generations", "-", "--lines", "--id", "batch", "--wait")
	if other.code != 1 || !strings.Contains(other.stderr, "earlier request") {
		t.Errorf("another kind: got %+v", other)
	}
}

func TestSubmitLinesRefuses(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	for _, c := range []struct{ lines, says string }{
		{"", "holds no request"},
		{"{}\n[]\n", "line 2 is not a JSON object"},
		{"{\n", "line 1 is not a JSON object"},
		{"{} {}\n", "is it one body a line, for --lines?"},
	} {
		got := execute(t.Context(), b.environ(), c.lines, "submit", "text2video", "-", "--lines")
		if got.code != 2 || !strings.Contains(got.stderr, c.says) {
			t.Errorf("%q: got %+v, want %q", c.lines, got, c.says)
		}
	}
	if n := b.requests(); n > 0 {
		t.Errorf("%d requests were published", n)
	}
	got := execute(t.Context(), b.environ(), "{\"prompt\":\"a\"}\n{\"prompt\":\"b\"}\n", "submit", "text2video", "-", "--lines", "--id", "x")
	if got.code != 0 || got.stdout != "x-1\nx-2\n" || b.requests() != 2 {
		t.Errorf("got %+v", got)
	}
}

// TestCompletion asks for what the tab key shows.
func TestCompletion(t *testing.T) {
	t.Parallel()
	environ := busyBridge(t)
	for args, want := range map[string]string{
		"submit ":      "text2video\tvideo pool\n",
		"task get ":    "waits\ttext2video waiting\n",
		"task cancel ": "waits\ttext2video waiting\n",
		"dead replay ": "bad\timage-generations policy\n",

		"watch --kind":       "text2video\tvideo pool\n",
		"watch --status":     "expired\n",
		"task list --kind":   "text2video\tvideo pool\n",
		"task list --status": "waiting\n",
		"watch --id":         "long\ttext2video processing\n",
	} {
		var got outcome
		eventually(t, args+" is completed", func() bool { // a slow machine is not waited for
			got = execute(t.Context(), environ, "", append([]string{"__complete"}, append(strings.Fields(args), "")...)...)
			return strings.Contains(got.stdout, want)
		})
		if strings.Contains(got.stdout, "long") != (args == "task get " || args == "watch --id") {
			t.Errorf("%q: got %+v", args, got)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if got := execute(t.Context(), environ, "", "completion", shell); got.code != 0 || !strings.Contains(got.stdout, "klingbridge") {
			t.Errorf("%s: exit %d", shell, got.code)
		}
	}
}
