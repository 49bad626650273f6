package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// natsCommand is the version of the nats command line that the shell example is tried with.
const natsCommand = "github.com/nats-io/natscli/nats@v0.5.1"

// TestExamples runs each client against "klingbridge dev".
func TestExamples(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	environ["BRIDGE_DATA_DIR"] = t.TempDir()
	dev := launch(t, build(t), environ, "dev", "--task-time", "300ms", "--submitted-time", "50ms")
	dev.answering(t, "http://"+environ["BRIDGE_ADMIN_ADDR"]+"/readyz")
	url := "NATS_URL=nats://" + environ["BRIDGE_EMBEDDED_ADDR"]

	t.Run("typescript", func(t *testing.T) {
		dir := copyOf(t, "typescript")
		have(t, "npm")
		run(t, dir, nil, "npm", "ci", "--no-audit", "--no-fund")
		check(t, run(t, dir, []string{url}, "npm", "--silent", "start", "--", "a paper boat"))
	})
	t.Run("shell", func(t *testing.T) {
		bin := t.TempDir()
		run(t, bin, []string{"GOBIN=" + bin}, "go", "install", natsCommand)
		path := "PATH=" + bin + string(os.PathListSeparator) + os.Getenv("PATH")
		check(t, run(t, copyOf(t, "shell"), []string{url, path}, "sh", "submit.sh", "a paper boat"))
	})
	t.Run("python", func(t *testing.T) {
		have(t, "python3")
		dir := copyOf(t, "python")
		run(t, dir, nil, "python3", "-m", "py_compile", "submit.py", "handle.py")
		if err := exec.CommandContext(t.Context(), "python3", "-c", "import nats.js").Run(); err != nil {
			t.Log("nats-py is not installed: the examples were compiled and not run")
			return
		}
		check(t, run(t, dir, []string{url}, "python3", "submit.py", "a paper boat"))
	})
}

// TestHandlers runs each consumer of completions beside a bridge some of whose requests fail. All are still there for the next
// consumer, which has a name of its own in its own stream of events.
func TestHandlers(t *testing.T) {
	t.Parallel()
	binary := build(t)
	for name, start := range map[string]func(t *testing.T, url string) *process{
		"typescript": func(t *testing.T, url string) *process {
			have(t, "npm")
			dir := copyOf(t, "typescript")
			run(t, dir, nil, "npm", "ci", "--no-audit", "--no-fund")
			run(t, dir, nil, "npm", "--silent", "run", "build")
			return background(t, dir, url, "node", "dist/handle.js")
		},
		"go": func(t *testing.T, url string) *process {
			path := filepath.Join(t.TempDir(), "handle")
			run(t, "../..", nil, "go", "build", "-o", path, "./deployments/examples/go")
			return background(t, t.TempDir(), url, path)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			environ := freePorts(t)
			environ["BRIDGE_DATA_DIR"] = t.TempDir()
			dev := launch(t, binary, environ, "dev", "--task-time", "300ms", "--submitted-time", "50ms")
			dev.answering(t, "http://"+environ["BRIDGE_ADMIN_ADDR"]+"/readyz")
			url := "NATS_URL=nats://" + environ["BRIDGE_EMBEDDED_ADDR"]
			submit := func(args ...string) {
				run(t, t.TempDir(), []string{url}, binary, append([]string{"submit", "text2video", "--set", "model_name=kling-v3"}, args...)...)
			}
			submit("--id", "refused", "--prompt", "x", "--set", "callback_url=https://example.com") // a poison pill for whoever wants a video
			submit("--id", "broken", "--prompt", "fail: no luck")
			submit("--id", "made", "--prompt", "a paper boat")
			handler := start(t, url)
			handler.says(t, "refused rejected invalid")
			handler.says(t, "broken failed kling")
			handler.says(t, "made succeed http")
		})
	}
}

// background runs a command until the test ends.
func background(t *testing.T, dir, environ, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(t.Context(), name, args...)}
	p.cmd.Dir, p.cmd.Env = dir, append(os.Environ(), environ)
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait() // it was killed
	})
	return p
}

// TestHandlersAreShort holds what the page shows of each consumer to the file that is run, and to ten lines.
func TestHandlersAreShort(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../events/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{"go/main.go", "typescript/handle.ts", "python/handle.py"} {
		_, block, found := strings.Cut(string(page), "<!-- "+file+" -->\n```")
		_, block, _ = strings.Cut(block, "\n")
		block, _, closed := strings.Cut(block, "```")
		if !found || !closed {
			t.Errorf("the page does not show %s", file)
			continue
		}
		raw, err := os.ReadFile(filepath.Join("../examples", file))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(block), "\n")
		if len(lines) > 10 {
			t.Errorf("%s takes %d lines on the page, want 10 at most", file, len(lines))
		}
		for _, line := range lines {
			if !strings.Contains(string(raw), strings.TrimSpace(line)) {
				t.Errorf("%s does not have the line %q", file, line)
			}
		}
	}
}

// have fails where a command is missing that .ci/setup installs.
func have(t *testing.T, command string) {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		t.Fatal(command + " is not installed: run .ci/setup")
	}
}

// copyOf an example, so that what running it leaves behind is not in the tree. What is there already is not copied.
func copyOf(t *testing.T, example string) string {
	t.Helper()
	return copyDir(t, filepath.Join("../examples", example))
}

// copyDir copies the files of a directory.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(from, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, entry.Name()), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

// run returns what a command prints on stdout.
func run(t *testing.T, dir string, environ []string, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(os.Environ(), environ)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", cmd, err, out, &stderr)
	}
	return string(out)
}

// check wants a completion that succeeded and has come the whole way.
func check(t *testing.T, printed string) {
	t.Helper()
	var completion struct {
		Status   string            `json:"status"`
		Metadata map[string]string `json:"metadata"`
		Result   struct {
			Videos []struct {
				URL string `json:"url"`
			} `json:"videos"`
		} `json:"result"`
	}
	if err := json.Unmarshal([]byte(printed), &completion); err != nil {
		t.Fatalf("%v: %s", err, printed)
	}
	if completion.Status != "succeed" || completion.Metadata["Tenant"] != "acme" || len(completion.Result.Videos) != 1 {
		t.Errorf("completion %s", printed)
	}
}
