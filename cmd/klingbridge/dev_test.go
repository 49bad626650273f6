package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/events"
)

// TestDevRestarts stops dev while tasks of both API generations are in flight, and starts it again: they come to an end
// that says why, and results of before can still be fetched.
func TestDevRestarts(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	environ["BRIDGE_POLL_AFTER"], environ["BRIDGE_POLL_MIN_INTERVAL"] = "1s", "1s"
	args := []string{"dev", "--addr", bustest.FreeAddr(t), "--submitted-time", "10ms"}
	submit := func(id, kind string, more ...string) outcome {
		return execute(t.Context(), environ, "", append([]string{"submit", kind, "--prompt", "a", "--id", id}, more...)...)
	}

	dev := open(t, environ, append(args, "--task-time", "50ms")...)
	done := submit("done", "text2video", "--wait")
	if done.code != 0 {
		t.Fatalf("got %+v", done)
	}
	dev.stop()
	dev = open(t, environ, append(args, "--task-time", "1h")...)
	submit("old", "text2video")
	submit("new", "text-to-video", "--set", "model=kling-3.0")
	for _, id := range []string{"old", "new"} {
		until(t, environ, "processing", "task", "get", id)
	}
	dev.stop()

	open(t, environ, append(args, "--task-time", "1h")...)
	for id, kind := range map[string]string{"old": "text2video", "new": "text-to-video"} {
		got := submit(id, kind, "--set", "model=kling-3.0", "--wait", "--json")
		var ev events.Event
		if err := json.Unmarshal([]byte(got.stdout), &ev); err != nil {
			t.Fatalf("%s: %v: %s", id, err, got.stderr)
		}
		if ev.Status != events.StatusFailed || ev.Error == nil || !strings.Contains(ev.Error.Message, "simulation that made this task has ended") {
			t.Errorf("%s: got %+v", id, ev)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, strings.TrimSpace(done.stdout), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if _ = resp.Body.Close(); resp.StatusCode != http.StatusOK {
		t.Errorf("a result of before: status %d", resp.StatusCode)
	}
}

// TestDevGreets says how to call the program where the shell would not find it.
func TestDevGreets(t *testing.T) {
	t.Parallel()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(program)
	for path, wanted := range map[string]bool{"/usr/bin": true, "/usr/bin" + string(os.PathListSeparator) + dir: false} {
		environ := freePorts(t)
		environ["PATH"] = path
		dev := open(t, environ, "dev")
		dev.until(t, "nats req")
		if strings.Contains(dev.String(), "\n  export PATH="+dir+":$PATH\n") != wanted {
			t.Errorf("with PATH=%s:\n%s", path, dev)
		}
		if !strings.Contains(dev.String(), "up to 5m after their submission (BRIDGE_POLL_AFTER)") {
			t.Errorf("says\n%s", dev)
		}
		if got := execute(t.Context(), environ, "", "dev"); got.code != 1 || !strings.Contains(got.stderr, "BRIDGE_ADMIN_ADDR") ||
			got.lastLine() != `is one running already? "klingbridge doctor" looks at it` {
			t.Errorf("a second one: %+v", got)
		}
	}
}

// TestDevBesideDev finds the simulation's usual port taken.
func TestDevBesideDev(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", devSimAddr)
	if err == nil { // else somebody else has it, which is as good
		t.Cleanup(func() { _ = l.Close() })
	}
	environ := freePorts(t)
	dev := open(t, environ, "dev")
	dev.until(t, "(simulated)")
	if strings.Contains(dev.String(), "http://"+devSimAddr+" ") {
		t.Errorf("says that Kling is simulated where it is not:\n%s", dev)
	}
	if got := execute(t.Context(), environ, "", "dev", "--addr", devSimAddr); got.code != 1 || !strings.Contains(got.stderr, "address already in use") {
		t.Errorf("got %+v", got)
	}
}
