package test

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBackupOfTheEmbeddedStore copies the store of a stopped bridge, loses the original with what came after, and goes on
// from the copy.
func TestBackupOfTheEmbeddedStore(t *testing.T) {
	t.Parallel()
	program := build(t)
	sim := freeAddr(t)
	launch(t, program, nil, "sim", "--addr", sim, "--api-key", "key", "--task-time", "3s").
		answering(t, "http://"+sim+"/")

	original, backup := filepath.Join(t.TempDir(), "data"), filepath.Join(t.TempDir(), "backup")
	environ := freePorts(t)
	maps.Copy(environ, map[string]string{
		"BRIDGE_DATA_DIR": original, "KLING_BASE_URL": "http://" + sim, "KLING_API_KEY": "key",
		"BRIDGE_PUBLIC_URL": "http://" + environ["BRIDGE_CALLBACK_ADDR"],
	})
	ready := "http://" + environ["BRIDGE_ADMIN_ADDR"] + "/readyz"
	serve := launch(t, program, environ, "serve")
	serve.answering(t, ready)
	submit(t, program, environ, "ended", "--wait")
	submit(t, program, environ, "under-way") // its task takes longer than the copy
	serve.stop(t)

	if err := os.CopyFS(backup, os.DirFS(original)); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(original); err != nil {
		t.Fatal(err)
	}

	environ["BRIDGE_DATA_DIR"] = backup
	// The callback may have come while nobody was there to take it.
	environ["BRIDGE_POLL_AFTER"], environ["BRIDGE_POLL_MIN_INTERVAL"] = "5s", "1s"
	launch(t, program, environ, "serve").answering(t, ready)
	if said := submit(t, program, environ, "ended"); !strings.Contains(said, "nothing new is created") {
		t.Errorf("a request from before the backup is not known: %s", said)
	}
	submit(t, program, environ, "under-way", "--wait")
	if n := tasks(t, sim); n != 2 {
		t.Errorf("%d tasks were paid for, want 2", n)
	}
}

// submit returns what the command says on stderr.
func submit(t *testing.T, program string, environ map[string]string, id string, flags ...string) string {
	t.Helper()
	args := append([]string{"submit", "text2video", "--prompt", "a paper boat", "--id", id}, flags...)
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = list(environ)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, &stderr)
	}
	return stderr.String()
}

// tasks is how many the simulated Kling has.
func tasks(t *testing.T, sim string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+sim+"/v1/videos/text2video", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer key")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var list struct {
		Data []json.RawMessage `json:"data"`
	}
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	return len(list.Data)
}
