package main

import (
	"strings"
	"testing"
)

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	if got := execute(t.Context(), environ, "", "healthcheck"); got.code != 1 || !strings.Contains(got.stderr, "/healthz") {
		t.Errorf("nobody is there: exit %d: %s", got.code, got.stderr)
	}
	_, port, _ := strings.Cut(environ["BRIDGE_ADMIN_ADDR"], ":")
	environ["BRIDGE_ADMIN_ADDR"] = "0.0.0.0:" + port // as in a container
	open(t, environ, "dev")
	if got := execute(t.Context(), environ, "", "healthcheck"); got.code != 0 || got.stdout+got.complaints() != "" {
		t.Errorf("exit %d: %s%s", got.code, got.stdout, got.stderr)
	}
}
