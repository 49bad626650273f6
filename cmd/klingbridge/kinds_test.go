package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// TestKinds lists kinds without a bridge, and beside one.
func TestKinds(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	got := execute(t.Context(), environ, "", "kinds")
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	if got.code != 0 || len(lines) != 1+len(events.Kinds()) || !strings.HasPrefix(lines[1], "text2video ") ||
		!strings.Contains(lines[1], " video ") || !strings.HasSuffix(lines[1], " 3m50s    prompt") {
		t.Errorf("%+v", got)
	}
	for args, says := range map[string]string{
		"kinds a b": `unexpected argument "b"`, "kinds text2vidoe": "did you mean text2video?",
	} {
		if got := execute(t.Context(), environ, "", strings.Fields(args)...); got.code != 2 || !strings.Contains(got.stderr, says) {
			t.Errorf("%s: %+v", args, got)
		}
	}
	environ["BRIDGE_EXTRA_KINDS"] = "new-thing=/v1/videos/new-thing:video"
	if got := execute(t.Context(), environ, "", "kinds", "new-thing"); got.code != 1 || got.stdout != "" {
		t.Errorf("a kind without a sample: %+v", got)
	}
	delete(environ, "BRIDGE_EXTRA_KINDS")

	environ["BRIDGE_CONCURRENCY"] = "image=9"
	open(t, environ, "dev")
	got = execute(t.Context(), environ, "", "kinds", "image-generations", "--json")
	var kind struct {
		Kind, Pool, API string
		Slots           *int
		Required        []string
		Body            json.RawMessage
	}
	if err := json.Unmarshal([]byte(got.stdout), &kind); err != nil || kind.Kind != "image-generations" || kind.Pool != "image" ||
		kind.API != "v1" || kind.Slots == nil || *kind.Slots != 9 || len(kind.Required) != 1 || !json.Valid(kind.Body) {
		t.Errorf("%v: %+v", err, got)
	}
	got = execute(t.Context(), environ, "", "kinds", "drama-subtitle")
	var body bytes.Buffer
	if err := json.Compact(&body, []byte(got.stdout)); err != nil || got.code != 0 || !strings.Contains(got.stderr, "required: contents") {
		t.Fatalf("%v: %+v", err, got)
	}
	if submitted := execute(t.Context(), environ, got.stdout, "submit", "drama-subtitle", "-"); submitted.code != 0 {
		t.Errorf("%+v", submitted)
	}
}

func TestSubmitHelpHasTheKinds(t *testing.T) {
	t.Parallel()
	got := execute(t.Context(), nil, "", "submit", "--help")
	for _, kind := range kling.DefaultKinds().All() {
		if !strings.Contains(got.stdout, " "+kind.Name) {
			t.Errorf("%s is not named", kind.Name)
		}
	}
}
