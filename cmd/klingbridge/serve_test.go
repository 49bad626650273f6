package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/events"
)

// terminal is a program that runs beside the test.
type terminal struct {
	mu   sync.Mutex
	text bytes.Buffer
	stop func() (code int) // ends it as SIGTERM would
}

// Write implements [io.Writer].
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.Write(p)
}

func (t *terminal) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}

// until waits for a text.
func (t *terminal) until(tb testing.TB, text string) {
	tb.Helper()
	if !clocktest.Within(patience, func() bool { return strings.Contains(t.String(), text) }) {
		tb.Fatalf("no %q in\n%s", text, t)
	}
}

// freePorts is an environment in which nothing meets another test.
func freePorts(t *testing.T) map[string]string {
	t.Helper()
	environ := map[string]string{"BRIDGE_DATA_DIR": t.TempDir()}
	for _, name := range []string{"BRIDGE_EMBEDDED_ADDR", "BRIDGE_CALLBACK_ADDR", "BRIDGE_ADMIN_ADDR"} {
		environ[name] = bustest.FreeAddr(t)
	}
	return environ
}

// open runs the program in a terminal of its own and waits until the bridge is ready.
func open(t *testing.T, environ map[string]string, args ...string) *terminal {
	t.Helper()
	term := &terminal{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() { done <- run(ctx, args, environ, strings.NewReader(""), io.Discard, term) }()
	term.stop = sync.OnceValue(func() int {
		cancel()
		return <-done
	})
	t.Cleanup(func() { term.stop() })
	untilReady(t, environ["BRIDGE_ADMIN_ADDR"], term)
	return term
}

func untilReady(t *testing.T, admin string, term *terminal) {
	t.Helper()
	ready := func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+admin+"/readyz", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	}
	if !clocktest.Within(patience, ready) {
		t.Fatalf("not ready:\n%s", term)
	}
}

func TestDevAndSubmit(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	dev := open(t, environ, "dev", "--task-time", "300ms", "--submitted-time", "50ms")
	dev.until(t, "nats req kling.request.text2video")
	for _, want := range []string{
		"SIMULATED", "klingbridge submit text2video", "end with this process", "--addr",
		"rm -r " + environ["BRIDGE_DATA_DIR"],
	} {
		if !strings.Contains(dev.String(), want) {
			t.Errorf("dev does not say %q:\n%s", want, dev)
		}
	}
	got := execute(t.Context(), environ, "", "submit", "text2video", "--prompt", "a lighthouse", "--wait", "--json", "--id", "one")
	if got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	var ev events.Event
	if err := json.Unmarshal([]byte(got.stdout), &ev); err != nil {
		t.Fatalf("%q: %v", got.stdout, err)
	}
	if ev.RequestID != "one" || ev.Status != events.StatusSucceed || len(ev.Result.Videos) != 1 {
		t.Errorf("got %+v", ev)
	}
	for _, header := range readHeaders(t, environ, "kling.*.*.*.one") {
		if header.Get("traceparent") == "" {
			t.Errorf("an event has no traceparent although nothing is exported: %v", header)
		}
	}
	if !strings.Contains(got.stderr, "submitted") || !strings.Contains(got.stderr, "processing") {
		t.Errorf("no progress on stderr: %s", got.stderr)
	}
	if got := execute(t.Context(), environ, "", "submit", "text2video", "--prompt", "fail: no", "--wait"); got.code != 1 {
		t.Errorf("a task that fails: exit %d", got.code)
	}
	if code := dev.stop(); code != 0 {
		t.Errorf("dev ended with %d:\n%s", code, dev)
	}
}

// readHeaders returns the headers of every stored event on subject.
func readHeaders(t *testing.T, environ map[string]string, subject string) []nats.Header {
	t.Helper()
	nc, err := nats.Connect("nats://" + environ["BRIDGE_EMBEDDED_ADDR"])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.OrderedConsumer(t.Context(), "KLING_EVENTS", jetstream.OrderedConsumerConfig{FilterSubjects: []string{subject}})
	if err != nil {
		t.Fatal(err)
	}
	batch, err := c.FetchNoWait(100)
	if err != nil {
		t.Fatal(err)
	}
	var headers []nats.Header
	for msg := range batch.Messages() {
		headers = append(headers, msg.Headers())
	}
	if len(headers) < 3 {
		t.Errorf("%d events on %s, want submitted, processing and succeed", len(headers), subject)
	}
	return headers
}

// TestDevNeverPays starts dev with the variables of a real account.
func TestDevNeverPays(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	maps.Copy(environ, map[string]string{
		"KLING_BASE_URL": "https://api-singapore.klingai.com", "KLING_API_KEY": "api-key-kling-real",
	})
	dev := open(t, environ, "dev", "--task-time", "100ms", "--submitted-time", "10ms")
	if !strings.Contains(dev.String(), "KLING_BASE_URL is not used") {
		t.Errorf("nothing is said about the real account:\n%s", dev)
	}
	if got := execute(t.Context(), environ, "", "submit", "effects", "--set", "effect_scene=hug", "--set",
		`input.image=https://example.com/a.png`, "--wait"); got.code != 0 {
		t.Errorf("exit %d: %s", got.code, got.stderr)
	}
	if strings.Contains(dev.String(), "api-key-kling-real") {
		t.Error("the key was printed")
	}
}

// TestDevArchives attaches an image and finds the result in a directory: files of the simulated Kling may be fetched.
func TestDevArchives(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	dir := filepath.Join(t.TempDir(), "results")
	environ["BRIDGE_ARCHIVE_URL"] = "file://" + filepath.ToSlash(dir)
	image := filepath.Join(t.TempDir(), "first.png")
	if err := os.WriteFile(image, []byte("pixels"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, environ, "dev", "--task-time", "100ms", "--submitted-time", "10ms")
	got := execute(t.Context(), environ, "", "submit", "image2video", "--attach", "image="+image, "--id", "order-1", "--wait")
	if got.code != 0 {
		t.Fatalf("exit %d: %s", got.code, got.stderr)
	}
	nc, err := nats.Connect(environ["BRIDGE_EMBEDDED_ADDR"])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	client, err := events.NewClient(nc, events.Subjects{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	filter := events.Filter{ID: "order-1", Types: []events.Type{events.TypeArchived}, Since: time.Unix(1, 0)}
	for m, err := range client.Watch(ctx, filter) {
		var archived events.Archived
		if err == nil {
			err = json.Unmarshal(m.Raw, &archived)
		}
		if err != nil || len(archived.Files) != 1 {
			t.Fatalf("%s: %v", m.Raw, err)
		}
		path := strings.TrimPrefix(archived.Files[0].ArchiveURL, "file://")
		if info, err := os.Stat(path); err != nil || info.Size() != archived.Files[0].Bytes || !strings.HasPrefix(path, dir) {
			t.Errorf("%s: %v", path, err)
		}
		break
	}
}

func TestServeNamesEveryFault(t *testing.T) {
	t.Parallel()
	environ := map[string]string{
		"KLING_ACCESS_KEY":         "ak",
		"KLING_BASE_URL":           "http://api.example.com",
		"KLING_WEBHOOK_SECRET":     "whsec_not base64 at all",
		"BRIDGE_PUBLIC_URL":        "http://bridge.example.com",
		"BRIDGE_POLL_AFTER":        "5 minutes",
		"BRIDGE_POLL_MIN_INTERVAL": "10m",
		"BRIDGE_CALLBACK_TRUST":    "everybody",
		"BRIDGE_CONCURRENCY":       "movies=3",
		"BRIDGE_EXTRA_KINDS":       "x",
		"BRIDGE_SUBJECT_PREFIX":    "a b",
		"BRIDGE_LOG_LEVEL":         "loud",
		"NATS_CREDS":               "/does/not/exist",

		"BRIDGE_ARCHIVE_URL":         "s3://key:not base64 at all@Results",
		"BRIDGE_ARCHIVE_ALLOW_HOSTS": "http://127.0.0.1",
		"BRIDGE_ARCHIVE_MAX_BYTES":   "2GiB",
	}
	got := execute(t.Context(), environ, "", "serve")
	if got.code != 2 || got.stdout != "" {
		t.Errorf("exit %d with stdout %q", got.code, got.stdout)
	}
	for name := range environ {
		if name == "KLING_ACCESS_KEY" {
			name = "KLING_SECRET_KEY"
		}
		if name == "BRIDGE_POLL_MIN_INTERVAL" {
			name = "BRIDGE_POLL_MAX_INTERVAL"
		}
		if !strings.Contains(got.stderr, name+":") {
			t.Errorf("%s is not named in\n%s", name, got.stderr)
		}
	}
	if strings.Contains(got.stderr, "not base64 at all") {
		t.Error("a secret was printed")
	}
}

func TestServeOnATakenAddress(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	environ["KLING_API_KEY"], environ["KLING_BASE_URL"] = "k", "http://127.0.0.1:1"
	open(t, environ, "serve")
	for _, command := range []string{"serve", "dev"} {
		got := execute(t.Context(), environ, "", command)
		for _, name := range []string{"BRIDGE_CALLBACK_ADDR", "BRIDGE_ADMIN_ADDR", "BRIDGE_EMBEDDED_ADDR"} {
			if want := "listen tcp " + environ[name] + ": bind: address already in use; set " + name + " to another address"; !strings.Contains(got.stderr, want) {
				t.Errorf("%s does not say %q:\n%s", command, want, got.stderr)
			}
		}
		if got.code != 1 || got.lastLine() != `is one running already? "klingbridge doctor" looks at it` {
			t.Errorf("%s: exit %d: %s", command, got.code, got.stderr)
		}
	}

	elsewhere := freePorts(t)
	elsewhere["BRIDGE_DATA_DIR"] = environ["BRIDGE_DATA_DIR"]
	got := execute(t.Context(), elsewhere, "", "dev")
	if got.code != 1 || !strings.Contains(got.stderr, "BRIDGE_DATA_DIR") || strings.Contains(got.stderr, "SIMULATED") {
		t.Errorf("a data directory in use: exit %d: %s", got.code, got.stderr)
	}
}

func TestDemo(t *testing.T) {
	t.Parallel()
	got := execute(t.Context(), map[string]string{}, "", "demo")
	if got.code != 0 || !strings.Contains(got.stdout, "5 requests, 5 completions") {
		t.Errorf("exit %d:\n%s%s", got.code, got.stdout, got.stderr)
	}
	for _, want := range []string{"LOST on purpose", "by poll", "by callback"} {
		if !strings.Contains(got.stdout, want) {
			t.Errorf("the story lacks %q:\n%s", want, got.stdout)
		}
	}
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stdout, stderr := newSignalBuffer(" created, "), &terminal{}
	done := make(chan int)
	go func() { done <- run(ctx, []string{"demo"}, map[string]string{}, strings.NewReader(""), stdout, stderr) }()
	<-stdout.seen
	interrupt()
	code := <-done
	if lines := strings.Split(strings.TrimSpace(stderr.String()), "\n"); code != 1 ||
		lines[len(lines)-1] != "klingbridge: interrupted" {
		t.Errorf("exit %d, stderr:\n%s", code, stderr)
	}
	if strings.Contains(stdout.String(), "canceled") {
		t.Errorf("the story tells its own end:\n%s", stdout)
	}
}
