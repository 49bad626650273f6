package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/term"
)

// newLogger writes to w at the given level, as text or JSON; an empty format means text on a terminal and else JSON.
//
// Lines for a program that reads them are gathered for some milliseconds, those for a person are not.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: logLevel(level)} // ReplaceAttr would more than double the time of a line
	terminal := isTerminal(w)
	lines := func(w io.Writer) slog.Handler {
		if format == "text" || format == "" && terminal {
			return slog.NewTextHandler(w, options)
		}
		return slog.NewJSONHandler(w, options)
	}
	beside, ok := w.(*besideLive)
	if !ok || terminal {
		return slog.New(tracedHandler{lines(w)})
	}
	handler := lines(&beside.paced)
	if beside.journal {
		handler = withPriorities(&beside.paced, lines)
	}
	return slog.New(tracedHandler{urgentHandler{handler, &beside.paced}})
}

// tracedHandler spells durations, and adds the ids of the trace that a line belongs to, so that a line leads to its trace and back.
type tracedHandler struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h tracedHandler) Handle(ctx context.Context, r slog.Record) error {
	r = spelled(r)
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h tracedHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return tracedHandler{h.Handler.WithAttrs(spelledAll(attrs))}
}

// WithGroup implements [slog.Handler].
func (h tracedHandler) WithGroup(name string) slog.Handler {
	return tracedHandler{h.Handler.WithGroup(name)}
}

// alsoTo returns log with a second handler, which gets the lines of the same levels.
func alsoTo(log *slog.Logger, second slog.Handler) *slog.Logger {
	return slog.New(slog.NewMultiHandler(log.Handler(), levelHandler{second, log.Handler()}))
}

// levelHandler leaves it to another handler which levels are of interest.
type levelHandler struct {
	slog.Handler
	levels slog.Handler
}

// Enabled implements [slog.Handler].
func (h levelHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.levels.Enabled(ctx, level) && h.Handler.Enabled(ctx, level)
}

// WithAttrs implements [slog.Handler].
func (h levelHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return levelHandler{h.Handler.WithAttrs(attrs), h.levels}
}

// WithGroup implements [slog.Handler].
func (h levelHandler) WithGroup(name string) slog.Handler {
	return levelHandler{h.Handler.WithGroup(name), h.levels}
}

// spelledHandler spells durations.
type spelledHandler struct{ slog.Handler }

// Handle implements [slog.Handler].
func (h spelledHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.Handler.Handle(ctx, spelled(r))
}

// WithAttrs implements [slog.Handler].
func (h spelledHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return spelledHandler{h.Handler.WithAttrs(spelledAll(attrs))}
}

// WithGroup implements [slog.Handler].
func (h spelledHandler) WithGroup(name string) slog.Handler {
	return spelledHandler{h.Handler.WithGroup(name)}
}

// spelled is a line with its durations spelled: 4.005s where JSON would have nanoseconds. Few lines have some that are logged of
// every request.
func spelled(r slog.Record) slog.Record {
	if !hasDurations(r) {
		return r
	}
	line := slog.NewRecord(r.Time, r.Level, r.Message, r.PC) // its attributes may be shared with other handlers
	r.Attrs(func(attr slog.Attr) bool {
		line.AddAttrs(spell(attr))
		return true
	})
	return line
}

func hasDurations(r slog.Record) (found bool) {
	r.Attrs(func(attr slog.Attr) bool {
		found = attr.Value.Kind() == slog.KindDuration
		return !found
	})
	return found
}

func spelledAll(attrs []slog.Attr) []slog.Attr {
	all := slices.Clone(attrs)
	for i := range all {
		all[i] = spell(all[i])
	}
	return all
}

func spell(attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindDuration {
		attr.Value = slog.StringValue(attr.Value.Duration().String())
	}
	return attr
}

func logLevel(name string) slog.Level {
	switch strings.ToLower(name) {
	case "debug":
		return slog.LevelDebug
	case "warn":
		return slog.LevelWarn
	case "error":
		return slog.LevelError
	default:
		return slog.LevelInfo
	}
}

func isTerminal(w io.Writer) bool {
	if beside, ok := w.(*besideLive); ok {
		w = beside.w
	}
	if one, ok := w.(*oneAtATime); ok {
		w = one.w
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colours reports whether w may be written to in colour: see no-color.org.
func (p *program) colours(w io.Writer) bool { return p.environ["NO_COLOR"] == "" && isTerminal(w) }
