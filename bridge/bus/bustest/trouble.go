package bustest

import (
	"fmt"
	"strings"
	"sync"
)

// trouble is a server's log of what went wrong, for a test that can't start it.
type trouble struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

// Errorf is called by the server.
func (t *trouble) Errorf(format string, v ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, fmt.Sprintf(format, v...))
}

// Fatalf is called by the server before it gives up; it does not end the process.
func (t *trouble) Fatalf(format string, v ...any) { t.Errorf(format, v...) }

// Noticef is called by the server.
func (*trouble) Noticef(string, ...any) {}

// Warnf is called by the server.
func (*trouble) Warnf(string, ...any) {}

// Debugf is called by the server.
func (*trouble) Debugf(string, ...any) {}

// Tracef is called by the server.
func (*trouble) Tracef(string, ...any) {}

func (t *trouble) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "; ")
}
