package main

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogIsPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var buf lockedBuffer
		w := &paced{w: &buf}
		log := slog.New(urgentHandler{slog.NewTextHandler(w, nil), w}).With("a", 1).WithGroup("g")
		log.Info("one")
		log.Info("two")
		time.Sleep(pace / 2)
		synctest.Wait()
		if buf.Len() > 0 {
			t.Errorf("%q was written at once", &buf)
		}
		time.Sleep(pace)
		synctest.Wait()
		if got := buf.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "msg=two a=1") {
			t.Errorf("%q after %s, want two lines", got, pace)
		}
		buf.Reset()
		log.Info("three")
		log.Warn("four")
		if got := buf.String(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "three") {
			t.Errorf("%q after a warning, want it and what came before it", got)
		}
		buf.Reset()
		log.Info("much", slog.String("x", strings.Repeat("x", paceBytes)))
		if buf.Len() < paceBytes {
			t.Error("much is gathered for long")
		}
		buf.Reset()
		log.Info("last")
		w.flush()
		if !strings.Contains(buf.String(), "last") {
			t.Errorf("%q after a flush", &buf)
		}
		w.flush()
		if strings.Count(buf.String(), "last") != 1 {
			t.Errorf("%q after another flush, want it once", &buf)
		}
	})
}

// TestLogIsWholeAtTheEnd ends a command just after its last line.
func TestLogIsWholeAtTheEnd(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgram(nil, strings.NewReader(""), io.Discard, &out)
	newLogger(p.log, "info", "json").Info("before the end")
	p.log.flush()
	if !strings.Contains(out.String(), "before the end") {
		t.Errorf("the log is %q", &out)
	}
}

func BenchmarkLogLine(b *testing.B) {
	null := writerFunc(func(p []byte) (int, error) { return len(p), nil })
	log := newLogger(newBesideLive(null), "info", "json")
	b.ReportAllocs()
	for b.Loop() {
		log.LogAttrs(b.Context(), slog.LevelInfo, "completed", slog.String("request_id", "order-42"), slog.String("kind", "text2video"),
			slog.String("status", "succeed"), slog.Duration("after", 4*time.Second))
	}
}

// lockedBuffer is a buffer that a timer writes to.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *lockedBuffer) Len() int { return len(b.String()) }

func (b *lockedBuffer) Reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
