package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os/exec"
	"strings"
	"testing"
)

// TestAxeFindsNothing looks at the console of a bridge that has seen each fate, and at its login, with axe-core.
func TestAxeFindsNothing(t *testing.T) {
	t.Parallel()
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
	program := build(t)
	look := func(origin string, pages ...string) {
		t.Helper()
		args := append([]string{"check.mjs", browser, t.TempDir(), origin}, pages...)
		cmd := exec.CommandContext(t.Context(), "node", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		if want := fmt.Sprintf("%d looks", 4*len(pages)); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%v, want %s: %s", err, want, out)
		}
	}

	environ := devWithConsole(t, program, nil)
	pages := []string{"/#/", "/#/tasks", "/#/new", "/#/dead"}
	for line := range strings.Lines(run(t, t.TempDir(), list(environ), program, "try", "--json")) {
		var tried struct {
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &tried); err != nil {
			t.Fatal(err)
		}
		pages = append(pages, "/#/task/"+tried.RequestID)
	}
	look("http://"+environ["BRIDGE_ADMIN_ADDR"], pages...)

	locked := devWithConsole(t, program, map[string]string{"BRIDGE_ADMIN_TOKEN": strings.Repeat("t", 32)})
	look("http://"+locked["BRIDGE_ADMIN_ADDR"], "/")
}

// devWithConsole runs dev and returns its environment once its console answers.
func devWithConsole(t *testing.T, program string, more map[string]string) map[string]string {
	t.Helper()
	environ := freePorts(t)
	environ["BRIDGE_DATA_DIR"], environ["BRIDGE_PROBE_INTERVAL"] = t.TempDir(), "1s"
	maps.Copy(environ, more)
	dev := launch(t, program, environ, "dev", "--task-time", "50ms", "--submitted-time", "10ms")
	dev.answering(t, "http://"+environ["BRIDGE_ADMIN_ADDR"]+"/readyz")
	return environ
}
