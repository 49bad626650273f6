//go:build unix

package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klingbridge/klingbridge/config"
)

func TestSupervisorIsNotified(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = socket.Close() }()
	environ := freePorts(t)
	environ["KLING_API_KEY"], environ["KLING_BASE_URL"] = "k", "http://"+nowhere
	environ["NOTIFY_SOCKET"] = path
	b := open(t, environ, "serve")
	heard := make([]byte, 64)
	n, err := socket.Read(heard)
	if err != nil || string(heard[:n]) != "READY=1" {
		t.Errorf("heard %q, %v", heard[:n], err)
	}
	b.stop()
	n, err = socket.Read(heard)
	if err != nil || string(heard[:n]) != "STOPPING=1" {
		t.Errorf("at the end heard %q, %v", heard[:n], err)
	}
}

// TestSupervisorCannotBeNotified names a socket that is not there. Recorded: a unit forbade unix sockets, and the service said
// nothing until it was killed.
func TestSupervisorCannotBeNotified(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nowhere")
	var log bytes.Buffer
	p := &program{environ: map[string]string{"NOTIFY_SOCKET": path}}
	p.notifySupervisor(slog.New(slog.NewTextHandler(&log, nil)), "READY=1")
	if !strings.Contains(log.String(), "systemd is not told") || !strings.Contains(log.String(), path) {
		t.Errorf("logged %q", log.String())
	}
}

func TestCredentialsAreVariables(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, value := range map[string]string{"KLING_API_KEY": "secret\n", "KLING_BASE_URL": "not this one", "other.file": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := withCredentials(map[string]string{"CREDENTIALS_DIRECTORY": dir, "KLING_BASE_URL": "https://set.example.com"})
	if err != nil || got["KLING_API_KEY"] != "secret" || got["KLING_BASE_URL"] != "https://set.example.com" || got["other.file"] != "" {
		t.Errorf("got %q, %v", got, err)
	}
	missing := execute(t.Context(), map[string]string{"CREDENTIALS_DIRECTORY": filepath.Join(dir, "nowhere")}, "", "version")
	if missing.code != exitUsage || !strings.Contains(missing.stderr, "CREDENTIALS_DIRECTORY") {
		t.Errorf("a directory that is not there: exit %d, %s", missing.code, missing.stderr)
	}
}

func TestJournalIsToldPriorities(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgram(nil, strings.NewReader(""), io.Discard, &out)
	p.log.journal = true
	log := newLogger(p.log, "debug", "json").With("a", 1).WithGroup("g")
	log.Debug("one")
	log.Info("two")
	log.Warn("three")
	log.Error("four")
	p.log.flush()
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	for i, want := range []string{"<7>{", "<6>{", "<4>{", "<3>{"} {
		if i >= len(lines) || !strings.HasPrefix(lines[i], want) || !strings.Contains(lines[i], `"a":1`) {
			t.Errorf("line %d of %q, want it to begin with %s", i, lines, want)
		}
	}
}

func TestJournalIsToldWhyTheProgramEnds(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	p := newProgram(nil, strings.NewReader(""), io.Discard, &out)
	p.log.journal = true
	_, err := config.Load(map[string]string{"BRIDGE_CONCURRENCY": "many"})
	code := p.exitCode(nil, err)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if code != exitUsage || !strings.HasPrefix(lines[0], "<3>BRIDGE_CONCURRENCY: ") || lines[1] != "<3>try: klingbridge help environment" {
		t.Errorf("exit %d, %q", code, lines)
	}
}

func TestJournalIsKnownByItsStream(t *testing.T) {
	t.Parallel()
	f, err := os.Create(filepath.Join(t.TempDir(), "stream"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	stat := info.Sys().(*syscall.Stat_t)
	stream := fmt.Sprintf("%d:%d", stat.Dev, stat.Ino)
	if !isJournal(f, stream) || isJournal(f, "1:2") || isJournal(f, "") || isJournal(&bytes.Buffer{}, stream) {
		t.Error("the stream of the journal is not told from others")
	}
}
