package test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// compile is called once, for linking takes seconds: the tests run the same program.
var compile = sync.OnceValues(func() (path string, err error) {
	path, err = filepath.Abs("../../bin/klingbridge-tested")
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-o", path, "./cmd/klingbridge")
	cmd.Dir = "../.."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// build compiles the program as it is shipped and returns its path.
func build(t *testing.T) string {
	t.Helper()
	path, err := compile()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// process is the program as it runs beside a test.
type process struct {
	cmd     *exec.Cmd
	mu      sync.Mutex // guards said, which is written while the process runs
	said    bytes.Buffer
	stopped bool
}

// Write implements [io.Writer].
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.Write(b)
}

func (p *process) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.said.String()
}

// launch runs the program with nothing but this environment until the test ends or stop is called.
func launch(t *testing.T, path string, environ map[string]string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(t.Context()), path, args...)}
	p.cmd.Env, p.cmd.Dir = list(environ), t.TempDir()
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.stop(t) })
	return p
}

// stop ends the program as a service manager does and wants it to succeed.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if p.stopped {
		return
	}
	p.stopped = true
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself, which Wait reports
	if err := p.cmd.Wait(); err != nil {
		t.Errorf("%s: %v\n%s", p.cmd, err, p)
	}
}

// answering waits until a page is there.
func (p *process) answering(t *testing.T, url string) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		response, err := http.Get(url)
		if err == nil {
			_ = response.Body.Close()
			if response.StatusCode < 500 {
				return
			}
		}
		select {
		case <-deadline:
			t.Fatalf("nothing answers at %s:\n%s", url, p)
		case <-tick.C:
		}
	}
}

// says waits until the program has printed something.
func (p *process) says(t *testing.T, want string) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.String(), want) {
		select {
		case <-deadline:
			t.Fatalf("%s does not say %q:\n%s", p.cmd, want, p)
		case <-tick.C:
		}
	}
}

func list(environ map[string]string) []string {
	out := []string{}
	for name, value := range environ {
		out = append(out, name+"="+value)
	}
	return out
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// freePorts is an environment in which nothing meets another program.
func freePorts(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{
		"BRIDGE_EMBEDDED_ADDR": freeAddr(t), "BRIDGE_CALLBACK_ADDR": freeAddr(t), "BRIDGE_ADMIN_ADDR": freeAddr(t),
	}
}
