package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// What systemd tells a service by its environment, and is told by it (systemd.exec and sd_notify).
const (
	notifySocket         = "NOTIFY_SOCKET"
	credentialsDirectory = "CREDENTIALS_DIRECTORY"
	journalStream        = "JOURNAL_STREAM"
)

// notifySupervisor tells systemd how the service stands, such as READY=1, where it asks to be told. What is in
// the way is logged: a unit that forbids unix sockets has a service killed that it never hears of.
func (p *program) notifySupervisor(log *slog.Logger, state string) {
	path := p.environ[notifySocket]
	if path == "" {
		return
	}
	if err := notify(path, state); err != nil {
		log.Warn("systemd is not told", slog.String("state", state), slog.String("socket", path), slog.Any("err", err))
	}
}

func notify(path, state string) error {
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = conn.Write([]byte(state))
	return errors.Join(err, conn.Close())
}

var variableName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// withCredentials adds the variables that systemd hands over as files (LoadCredential=), each named like its variable: unlike
// the environment they are for this process alone. A variable that is set wins.
func withCredentials(environ map[string]string) (map[string]string, error) {
	dir := environ[credentialsDirectory]
	if dir == "" {
		return environ, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", credentialsDirectory, err)
	}
	with := maps.Clone(environ)
	for _, entry := range entries {
		name := entry.Name()
		if !variableName.MatchString(name) || strings.TrimSpace(with[name]) != "" {
			continue
		}
		value, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", credentialsDirectory, err)
		}
		with[name] = strings.TrimSpace(string(value))
	}
	return with, nil
}

// priorityHandler begins each line with the priority that the journal files it under, such as <4> for a warning.
type priorityHandler struct{ info, warn, failed, debug slog.Handler }

// withPriorities makes a handler that writes to w of what makes one for a single priority.
func withPriorities(w io.Writer, lines func(io.Writer) slog.Handler) slog.Handler {
	at := func(priority int) slog.Handler { return lines(prefixed{w, fmt.Sprintf("<%d>", priority)}) }
	return priorityHandler{info: at(6), warn: at(4), failed: at(3), debug: at(7)}
}

// giveUp says why the program ends; to the journal as errors, line by line.
func (p *program) giveUp(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if p.log.journal {
		text = "<3>" + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n<3>") + "\n"
	}
	fmt.Fprint(p.stderr, text)
}

// prefixed writes something before whatever is written to it at once.
type prefixed struct {
	w      io.Writer
	prefix string
}

// Write implements [io.Writer].
func (p prefixed) Write(line []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.prefix), line...)); err != nil {
		return 0, err
	}
	return len(line), nil
}

func (h priorityHandler) of(level slog.Level) slog.Handler {
	switch {
	case level >= slog.LevelError:
		return h.failed
	case level >= slog.LevelWarn:
		return h.warn
	case level >= slog.LevelInfo:
		return h.info
	default:
		return h.debug
	}
}

func (h priorityHandler) each(f func(slog.Handler) slog.Handler) priorityHandler {
	return priorityHandler{f(h.info), f(h.warn), f(h.failed), f(h.debug)}
}

// Enabled implements [slog.Handler].
func (h priorityHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.of(level).Enabled(ctx, level)
}

// Handle implements [slog.Handler].
func (h priorityHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.of(r.Level).Handle(ctx, r)
}

// WithAttrs implements [slog.Handler].
func (h priorityHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(of slog.Handler) slog.Handler { return of.WithAttrs(attrs) })
}

// WithGroup implements [slog.Handler].
func (h priorityHandler) WithGroup(name string) slog.Handler {
	return h.each(func(of slog.Handler) slog.Handler { return of.WithGroup(name) })
}
