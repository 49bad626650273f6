package main

import (
	"strings"
	"testing"
)

func TestTaskAgain(t *testing.T) {
	t.Parallel()
	environ := busyBridge(t)
	got := execute(t.Context(), environ, "", "submit", "image-generations", "--prompt", "[policy]", "--id", "nested", "--wait",
		"--set", "more.n=1", "--set", "more.m=2")
	if got.code != 1 {
		t.Fatalf("%+v", got)
	}
	for _, c := range []struct {
		args string
		code int
		says []string // on stdout, or on stderr where the command fails
	}{
		{"task get waits", 0, []string{`asked for  {"prompt":"a"}` + "\n"}},
		{"task again", 2, []string{"name a request id"}},
		{"task again a b", 2, []string{`unexpected argument "b"`}},
		{"task again nobody", 1, []string{`nothing is known of a request "nobody"`}},
		{"task again nobody --set a.b=1", 1, []string{`nothing is known of a request "nobody"`}},
		{"task again long", 1, []string{`request "long" has not ended, it is processing`}},
		{"task again bad --set x", 2, []string{`--set "x" is not key=value`}},
		{"task again bad --set n.x=1 --set n.x.y=1", 2, []string{`"x" is not an object`}},
		{"task again bad --json", 0, []string{`{"replay_of":"bad","request_id":"bad-r1"}` + "\n"}},
		{"task again nested --set prompt=[policy]! --set more.n=5", 0, []string{"nested-r1\n"}},
	} {
		got := execute(t.Context(), environ, "", strings.Fields(c.args)...)
		text := got.stdout
		if c.code != 0 {
			text = got.stderr
		}
		for _, want := range c.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q lacks %q", c.args, text, want)
			}
		}
		if got.code != c.code {
			t.Errorf("%s: exit %d, want %d: %s", c.args, got.code, c.code, got.stderr)
		}
		if c.code == 0 && strings.Contains(c.args, "--set") && !strings.Contains(got.stderr, "Kling charges for") {
			t.Errorf("%s: nothing is said of the cost: %q", c.args, got.stderr)
		}
	}
	until(t, environ, `  {"more":{"m":2,"n":5},"prompt":"[policy]!"}`+"\n", "task", "get", "nested-r1")
	got = execute(t.Context(), environ, "", "task", "list", "--meta", "Tenant=acme")
	if got.code != 0 || !strings.Contains(got.stdout, "long") || strings.Contains(got.stdout, "waits") {
		t.Errorf("%+v", got)
	}
	if got := execute(t.Context(), environ, "", "task", "list", "--meta", "acme"); got.code != 2 {
		t.Errorf("%+v", got)
	}
}
