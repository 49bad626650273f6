package main

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// pace is how long lines of the log are gathered: a write for each would be a good part of what a callback costs.
	pace = 10 * time.Millisecond
	// paceBytes are written without waiting for more.
	paceBytes = 64 << 10
)

// paced gathers what is written to it and passes it on soon. Whoever can't wait calls flush.
//
// Safe for concurrent use.
type paced struct {
	w io.Writer

	mu    sync.Mutex
	buf   []byte
	timer *time.Timer // runs while something is gathered
}

// Write implements [io.Writer]. It keeps none of p.
func (w *paced) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.buf) == 0 {
		w.arm()
	}
	w.buf = append(w.buf, p...)
	if len(w.buf) < paceBytes {
		return len(p), nil
	}
	return len(p), w.pass()
}

func (w *paced) arm() {
	if w.timer == nil {
		w.timer = time.AfterFunc(pace, w.flush)
		return
	}
	w.timer.Reset(pace)
}

// flush passes on what was gathered. There is nobody to tell when that fails: it was the log.
func (w *paced) flush() {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.pass()
}

// pass is flush; the caller holds the mutex.
func (w *paced) pass() error {
	if len(w.buf) == 0 {
		return nil
	}
	w.timer.Stop()
	_, err := w.w.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// urgentHandler passes on at once what must not wait: warnings and worse, after which a process may end.
type urgentHandler struct {
	slog.Handler
	w *paced
}

// Handle implements [slog.Handler].
func (h urgentHandler) Handle(ctx context.Context, r slog.Record) error {
	err := h.Handler.Handle(ctx, r)
	if r.Level >= slog.LevelWarn {
		h.w.flush()
	}
	return err
}

// WithAttrs implements [slog.Handler].
func (h urgentHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return urgentHandler{h.Handler.WithAttrs(attrs), h.w}
}

// WithGroup implements [slog.Handler].
func (h urgentHandler) WithGroup(name string) slog.Handler {
	return urgentHandler{h.Handler.WithGroup(name), h.w}
}
