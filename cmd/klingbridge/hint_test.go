package main

import (
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/events"
)

// TestSubmitHintsAtQuotes has Kling refuse a number that should be a string, which the shell makes hard to see.
func TestSubmitHintsAtQuotes(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	refused := event("h1", events.StatusRejected)
	refused.Error = &events.Error{Class: events.ErrorInvalid, Code: 1201, HTTPStatus: 400, Message: "duration value '5' is invalid"}
	b.complete(refused)
	const hint = `Kling may want it as a string: --set 'duration="5"'`
	for args, want := range map[string]bool{
		"--set duration=5":                     true,
		`--set duration="5"`:                   false,
		"--set cfg_scale=0.5":                  false,
		"--set settings.duration=5":            false,
		"--set cfg_scale=0.5 --set duration=5": true,
	} {
		got := execute(t.Context(), b.environ(), "", append([]string{
			"submit", "text2video", "--prompt", "x", "--id", "h1", "--wait",
		}, strings.Fields(args)...)...)
		if got.code != 1 || strings.Contains(got.stderr, hint) != want {
			t.Errorf("%s: exit %d, hint wanted %v: %s", args, got.code, want, got.stderr)
		}
	}
}
