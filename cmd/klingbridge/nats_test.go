package main

import (
	"strings"
	"testing"
)

func TestNoNATS(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ map[string]string
		says    string
	}{
		"embedded": {map[string]string{"BRIDGE_EMBEDDED_ADDR": "127.0.0.1:1"}, "klingbridge dev"},
		"named":    {map[string]string{"NATS_URL": "nats://user:hunter2@127.0.0.1:1"}, "nats://127.0.0.1:1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := execute(t.Context(), test.environ, "", "submit", "text2video", "--set", "model_name=kling-v3", "--prompt", "x")
			if got.code != 1 || strings.Count(got.complaints(), "\n") != 1 || !strings.Contains(got.stderr, test.says) {
				t.Errorf("exit %d, stderr %q", got.code, got.stderr)
			}
			if !strings.Contains(got.stderr, "connection refused") {
				t.Errorf("the reason is missing: %q", got.stderr)
			}
			if strings.Contains(got.stderr, "hunter2") {
				t.Errorf("the password shows: %q", got.stderr)
			}
		})
	}
}

func TestNATSCannotBeFound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, value, problem string }{
		{"BRIDGE_EMBEDDED_ADDR", "127.0.0.1:-1", "the embedded server's port is not known; set NATS_URL"},
		{"NATS_CONTEXT", "klingbridge-nowhere", `there is no context "klingbridge-nowhere"`},
	} {
		got := execute(t.Context(), map[string]string{test.name: test.value}, "", "watch")
		if want := test.name + ": " + test.problem; got.code != 2 || !strings.Contains(got.stderr, want) {
			t.Errorf("exit %d, stderr %q, want 2 and %q", got.code, got.stderr, want)
		}
	}
}
