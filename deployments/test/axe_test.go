package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"testing"
)

// state is one that the console can be in.
type state struct {
	Path  string `json:"path"`
	Click string `json:"click,omitempty"` // a selector of what is clicked there; empty: nothing
	Shows string `json:"shows,omitempty"` // a selector of what is there then; empty: nothing but the page
}

// TestAxeFindsNothing looks at the console of a bridge that has seen each fate, at a pause, and at its login, with axe-core.
func TestAxeFindsNothing(t *testing.T) {
	t.Parallel()
	look, program := axe(t), build(t)
	environ := devWithConsole(t, program, map[string]string{"BRIDGE_PROBE_INTERVAL": "1s"})
	states := []state{{Path: "/#/"}, {Path: "/#/tasks"}, {Path: "/#/new"}, {Path: "/#/dead"}}
	for line := range strings.Lines(run(t, t.TempDir(), list(environ), program, "try", "--json")) {
		var tried struct {
			RequestID string `json:"request_id"`
			Outcome   string `json:"outcome"`
		}
		if err := json.Unmarshal([]byte(line), &tried); err != nil {
			t.Fatal(err)
		}
		states = append(states, state{Path: "/#/task/" + tried.RequestID})
		if tried.Outcome == "failed" {
			states = append(states, state{Path: "/#/task/" + tried.RequestID, Click: "button.edit", Shows: "form.editor textarea"})
		}
	}
	states = append(states, state{Path: "/#/search/try-", Shows: "table.list tbody a"})
	look("http://"+environ["BRIDGE_ADMIN_ADDR"], states...)

	paused := devWithConsole(t, program, map[string]string{"BRIDGE_PROBE_INTERVAL": "1h"})
	run(t, t.TempDir(), list(paused), program, "submit", "image-generations", "--set", "model_name=kling-v2-1", "--prompt", "[credit]")
	look("http://"+paused["BRIDGE_ADMIN_ADDR"], state{Path: "/#/", Shows: "#banner p"})

	locked := devWithConsole(t, program, map[string]string{"BRIDGE_ADMIN_TOKEN": strings.Repeat("t", 32)})
	look("http://"+locked["BRIDGE_ADMIN_ADDR"], state{Path: "/"})
}

// axe returns what looks at states of a console, each in four views.
func axe(t *testing.T) (look func(origin string, states ...state)) {
	t.Helper()
	have(t, "npm")
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			browser = found
			break
		}
	}
	if browser == "" {
		t.Fatal("chromium is not installed: run .ci/setup")
	}
	dir := copyDir(t, "axe")
	run(t, dir, nil, "npm", "ci", "--no-audit", "--no-fund")
	return func(origin string, states ...state) {
		t.Helper()
		args := []string{"check.mjs", browser, t.TempDir(), origin}
		for _, s := range states {
			raw, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			args = append(args, string(raw))
		}
		cmd := exec.CommandContext(t.Context(), "node", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if want := fmt.Sprintf("%d looks", 4*len(states)); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, want %s: %s", err, want, out)
		}
	}
}

// devWithConsole runs dev and returns its environment once its console answers.
func devWithConsole(t *testing.T, program string, more map[string]string) map[string]string {
	t.Helper()
	environ := freePorts(t)
	environ["BRIDGE_DATA_DIR"] = t.TempDir()
	maps.Copy(environ, more)
	dev := launch(t, program, environ, "dev", "--task-time", "50ms", "--submitted-time", "10ms")
	dev.answering(t, "http://"+environ["BRIDGE_ADMIN_ADDR"]+"/readyz")
	return environ
}
