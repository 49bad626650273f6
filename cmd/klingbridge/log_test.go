package main

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
)

func TestLogger(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		level, format string
		want          string
	}{
		"json where no terminal is": {"info", "", `"level":"INFO","msg":"done","after":"1.5s"}`},
		"text":                      {"info", "text", `level=INFO msg=done after=1.5s`},
		"below the level":           {"warn", "json", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var buf bytes.Buffer
			newLogger(&buf, test.level, test.format).Info("done", "after", 1500*time.Millisecond)
			if !strings.Contains(buf.String(), test.want) || (buf.Len() == 0) != (test.want == "") {
				t.Errorf("logged %q, want %q", &buf, test.want)
			}
		})
	}
}

// TestLinesLeadToTheirTrace logs within a span, by loggers derived in every way.
func TestLinesLeadToTheirTrace(t *testing.T) {
	t.Parallel()
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	ctx := trace.ContextWithSpanContext(t.Context(), span)
	const want = "trace_id=01000000000000000000000000000000 span_id=0200000000000000"
	var buf bytes.Buffer
	log := newLogger(&buf, "info", "text")
	for _, l := range []*slog.Logger{log, log.With("a", 1), log.WithGroup("g").With("b", 2)} {
		buf.Reset()
		l.InfoContext(ctx, "done")
		if !strings.Contains(strings.ReplaceAll(buf.String(), "g.", ""), want) {
			t.Errorf("logged %q, want %q in it", &buf, want)
		}
	}
	buf.Reset()
	log.InfoContext(t.Context(), "done")
	if strings.Contains(buf.String(), "trace_id") {
		t.Errorf("logged %q outside of a span", &buf)
	}
}

func TestSecondHandlerGetsTheSameLevels(t *testing.T) {
	t.Parallel()
	var first, second bytes.Buffer
	everything := slog.NewTextHandler(&second, &slog.HandlerOptions{Level: slog.LevelDebug})
	log := alsoTo(newLogger(&first, "info", "text"), everything).With("a", 1).WithGroup("g")
	log.InfoContext(t.Context(), "said")
	log.DebugContext(t.Context(), "unsaid")
	for _, got := range []string{first.String(), second.String()} {
		if !strings.Contains(got, "msg=said a=1") || strings.Contains(got, "unsaid") {
			t.Errorf("logged %q", got)
		}
	}
}
