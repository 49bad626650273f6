package chaos_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// replica is one process of the program after the other, always with the same environment.
type replica struct {
	w        *world
	binary   string
	env      []string
	callback string // host:port
	admin    string
	dataDir  string // of the embedded server, if there is one
	logPath  string

	mu    sync.Mutex
	cmd   *exec.Cmd
	gone  chan struct{} // closed when cmd has ended
	ended bool          // by us
}

// newReplica runs the program until the test ends.
func (w *world) newReplica(s setup, n string) *replica {
	w.t.Helper()
	r := &replica{
		w: w, binary: s.binary, callback: bustest.FreeAddr(w.t), admin: bustest.FreeAddr(w.t),
		dataDir: filepath.Join(w.t.TempDir(), "data"), logPath: filepath.Join(w.t.TempDir(), "replica-"+n+".log"),
	}
	line := httptest.NewServer(http.HandlerFunc(r.uplink))
	w.t.Cleanup(line.Close)
	r.env = append(w.environment(s), "KLING_BASE_URL="+line.URL, "BRIDGE_DATA_DIR="+r.dataDir,
		"BRIDGE_CALLBACK_ADDR="+r.callback, "BRIDGE_ADMIN_ADDR="+r.admin)
	r.start()
	w.t.Cleanup(r.kill)
	return r
}

// start runs a process, whose log goes on where the last one's ended.
func (r *replica) start() {
	r.w.t.Helper()
	log, err := os.OpenFile(r.logPath, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		r.w.t.Fatal(err)
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(r.binary, "serve")
	cmd.Env, cmd.Stdout, cmd.Stderr = r.env, log, log
	if err := cmd.Start(); err != nil {
		r.w.t.Fatalf("start the program: %v", err)
	}
	gone := make(chan struct{})
	r.mu.Lock()
	r.cmd, r.gone, r.ended = cmd, gone, false
	r.mu.Unlock()
	go func() {
		defer close(gone)
		err := cmd.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if !r.ended {
			r.w.t.Errorf("the program ended by itself: %v\n%s", err, r.logged(100))
		}
	}()
}

// kill ends the process as a power failure would and returns when nothing of it is left. It may be called twice.
func (r *replica) kill() {
	r.mu.Lock()
	cmd, gone := r.cmd, r.gone
	r.ended = true
	r.mu.Unlock()
	_ = cmd.Process.Kill() // one that has ended can't be killed
	<-gone
}

// waitReady returns when the process takes requests.
func (r *replica) waitReady() {
	r.w.t.Helper()
	r.w.eventually("the program is ready", func() bool {
		select {
		case <-r.gone:
			r.w.fatalf("the program ended before it was ready")
		default:
		}
		return r.ready()
	})
}

func (r *replica) ready() bool {
	status, _ := r.readiness()
	return status == http.StatusOK
}

// readiness returns the status and the body of /readyz; zero where nobody answers.
func (r *replica) readiness() (status int, body string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	resp, err := client.Get("http://" + r.admin + "/readyz")
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	data, _ := io.ReadAll(resp.Body) // what of it has come is enough
	return resp.StatusCode, string(data)
}

// log is all that the processes have logged.
func (r *replica) log() string {
	data, err := os.ReadFile(r.logPath)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// lines counts the lines of the log that hold some text.
func (r *replica) lines(text string) int { return strings.Count(r.log(), text) }

// logged returns the last lines of the log, and the last of those that hold one of the words.
func (r *replica) logged(lines int, words ...string) string {
	all := strings.Split(strings.TrimSpace(r.log()), "\n")
	var about []string
	for _, line := range all {
		for _, word := range words {
			if strings.Contains(line, word) {
				about = append(about, line)
				break
			}
		}
	}
	last := func(l []string) string { return strings.Join(l[max(0, len(l)-lines):], "\n") }
	return last(about) + "\n…\n" + last(all)
}
