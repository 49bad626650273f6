package main

import (
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// TestCredentialsRefused asks a server that takes none of these credentials. It is told at once, in one line.
func TestCredentialsRefused(t *testing.T) {
	t.Parallel()
	srv, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true, Username: "a", Password: "b"})
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	environ := map[string]string{"NATS_URL": srv.ClientURL(), "NATS_USER": "a", "NATS_PASSWORD": "a secret"}
	for args := range clientCommands {
		got := execute(t.Context(), environ, aBody, strings.Fields(args)...)
		if got.code != 1 || strings.Count(got.complaints(), "\n") != 1 || !strings.Contains(got.stderr, "refuses the credentials") ||
			strings.Contains(got.stderr, "a secret") {
			t.Errorf("%s: %+v", args, got)
		}
	}
	got := execute(t.Context(), environ, "", "doctor")
	if got.code != 1 || got.complaints() != "" || !strings.Contains(got.stdout, "refuses the credentials") {
		t.Errorf("doctor: %+v", got)
	}
}

func TestNothingThere(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	open(t, environ, "dev")
	for args, says := range map[string]string{
		"task list": "nothing there\n", "dead list": "nothing there\n", "task list --json": "", "task list --meta Tenant=acme": "nothing there\n",
	} {
		if got := execute(t.Context(), environ, "", strings.Fields(args)...); got.code != 0 || got.complaints() != says || got.stdout != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}
