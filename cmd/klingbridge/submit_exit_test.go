package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/events"
)

// TestSubmitExitCodes holds submit to what its help and the README say.
func TestSubmitExitCodes(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	for _, status := range []events.Status{
		events.StatusFailed, events.StatusRejected, events.StatusExpired, events.StatusCancelled,
	} {
		e := event(string(status), status)
		e.Error = &events.Error{Class: events.ErrorInvalid, Message: "so it was"}
		b.complete(e)
	}
	cdn := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(cdn.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	b.complete(success("succeed", cdn.URL+"/a.mp4"))
	down := map[string]string{"NATS_URL": "nats://" + nowhere}
	for name, c := range map[string]struct {
		args    string
		code    int
		environ map[string]string // nil: that of the bridge
	}{
		"stored":                   {"--prompt x", 0, nil},
		"succeed":                  {"--prompt x --id succeed --wait", 0, nil},
		"failed":                   {"--prompt x --id failed --wait", 1, nil},
		"rejected":                 {"--prompt x --id rejected --wait", 1, nil},
		"expired":                  {"--prompt x --id expired --wait", 1, nil},
		"cancelled":                {"--prompt x --id cancelled --wait --json", 1, nil},
		"failed, but not waited":   {"--prompt x --id failed", 0, nil},
		"a file that is gone":      {"--prompt x --id succeed --download " + t.TempDir(), 1, nil},
		"no NATS":                  {"--prompt x", 1, down},
		"a wrong flag":             {"--prompt x --wiat", 2, nil},
		"no body":                  {"", 2, nil},
		"a timeout that is none":   {"--prompt x --timeout soon", 2, nil},
		"a wrong variable":         {"--prompt x", 2, map[string]string{"BRIDGE_SUBJECT_PREFIX": "a.*"}},
		"wrong usage without NATS": {"--prompt x --set =1", 2, down},
		"an id that is too long":   {"--prompt x --id " + strings.Repeat("i", 129), 2, nil},
	} {
		environ := c.environ
		if environ == nil {
			environ = b.environ()
		}
		got := execute(t.Context(), environ, "", append([]string{"submit", "text2video"}, strings.Fields(c.args)...)...)
		if got.code != c.code {
			t.Errorf("%s: exit %d, want %d: %s", name, got.code, c.code, got.stderr)
		}
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	help := execute(t.Context(), nil, "", "submit", "--help").stdout
	for _, text := range []string{help, string(readme)} {
		for _, want := range []string{"it failed, was rejected, expired or was cancelled", "wrong usage or environment: nothing was sent"} {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), want) {
				t.Errorf("does not say %q", want)
			}
		}
	}
}
