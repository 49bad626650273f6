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
		if err := exec.CommandContext(t.Context(), "python3", "-c", "import nats.js").Run(); err != nil {
			t.Skip("nats-py is not installed")
		}
		check(t, run(t, copyOf(t, "python"), []string{url}, "python3", "submit.py", "a paper boat"))
	})
}

func have(t *testing.T, command string) {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		t.Skip(command + " is not installed")
	}
}

// copyOf an example, so that what running it leaves behind is not in the tree. What is there already is not copied.
func copyOf(t *testing.T, example string) string {
	t.Helper()
	from, to := filepath.Join("../examples", example), t.TempDir()
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
