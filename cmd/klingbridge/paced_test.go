package main

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogIsPaced(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out terminal
		read := 0
		written := func() string { // since it was asked last
			synctest.Wait()
			text := out.String()[read:]
			read += len(text)
			return text
		}
		w := &paced{w: &out}
		log := slog.New(urgentHandler{slog.NewTextHandler(w, nil), w}).With("a", 1).WithGroup("g")
		log.Info("one")
		log.Info("two")
		time.Sleep(pace / 2)
		if got := written(); got != "" {
			t.Errorf("%q was written at once", got)
		}
		time.Sleep(pace)
		if got := written(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "msg=two a=1") {
			t.Errorf("%q after %s, want two lines", got, pace)
		}
		log.Info("three")
		log.Warn("four")
		if got := written(); strings.Count(got, "\n") != 2 || !strings.Contains(got, "three") {
			t.Errorf("%q after a warning, want it and what came before it", got)
		}
		log.Info("much", slog.String("x", strings.Repeat("x", paceBytes)))
		if len(written()) < paceBytes {
			t.Error("much is gathered for long")
		}
		log.Info("last")
		w.flush()
		if got := written(); strings.Count(got, "last") != 1 {
			t.Errorf("%q after a flush", got)
		}
		w.flush()
		if got := written(); got != "" {
			t.Errorf("%q after another flush, want it once", got)
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

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
