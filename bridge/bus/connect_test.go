package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// untilLogged gathers a log and calls done once it has all of these texts.
//
// Safe for concurrent use.
type untilLogged struct {
	texts []string
	done  func()

	mu  sync.Mutex
	log strings.Builder
}

// Write implements [io.Writer].
func (u *untilLogged) Write(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	n, err := u.log.Write(p)
	for _, text := range u.texts {
		if !strings.Contains(u.log.String(), text) {
			return n, err
		}
	}
	u.done()
	return n, err
}

// TestConnectNamesTheServer waits for servers that are not there. The log says which, and not how one gets in.
func TestConnectNamesTheServer(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	log := &untilLogged{texts: []string{"waiting for NATS", "NATS can't be reached"}, done: stop}
	nc, err := bus.Connect(ctx, bus.Options{
		URL: "nats://user:hunter2@127.0.0.1:1,token-hunter2@127.0.0.1:2", Password: "hunter2", Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err == nil {
		nc.Close()
		t.Fatal("there is a server")
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	got := log.log.String()
	if n := strings.Count(got, " servers=nats://127.0.0.1:1,127.0.0.1:2"); n != 2 || strings.Contains(got, "hunter2") {
		t.Errorf("the servers are named %d times, want 2, and no secret:\n%s", n, got)
	}
}
