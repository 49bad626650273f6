package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/events"
)

// fakeBridge has the streams of a bridge and answers each request with what the test says.
type fakeBridge struct {
	t        *testing.T
	url      string
	js       jetstream.JetStream
	subjects events.Subjects
}

func startFakeBridge(t *testing.T) *fakeBridge {
	t.Helper()
	server := bustest.Start(t)
	nc, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	for _, stream := range []jetstream.StreamConfig{
		{Name: "KLING_REQUESTS", Subjects: []string{"kling.request.text2video", "kling.request.text2video.*"}},
		{Name: "KLING_EVENTS", Subjects: []string{"kling.progress.>", "kling.completion.>", "kling.late.>"}},
	} {
		if _, err := js.CreateStream(t.Context(), stream); err != nil {
			t.Fatal(err)
		}
	}
	return &fakeBridge{t: t, url: server.URL(), js: js, subjects: events.Subjects{}}
}

func (b *fakeBridge) environ() map[string]string { return map[string]string{"NATS_URL": b.url} }

// flush returns when the server knows what was subscribed to.
func (b *fakeBridge) flush() {
	b.t.Helper()
	if err := b.js.Conn().Flush(); err != nil {
		b.t.Fatal(err)
	}
}

// requests returns how many were published.
func (b *fakeBridge) requests() uint64 { return b.requestStream().CachedInfo().State.Msgs }

func (b *fakeBridge) requestStream() jetstream.Stream {
	b.t.Helper()
	stream, err := b.js.Stream(b.t.Context(), "KLING_REQUESTS")
	if err != nil {
		b.t.Fatal(err)
	}
	return stream
}

// request returns the one request that was published.
func (b *fakeBridge) request() *jetstream.RawStreamMsg {
	b.t.Helper()
	stream := b.requestStream()
	if n := stream.CachedInfo().State.Msgs; n != 1 {
		b.t.Fatalf("%d requests, want 1", n)
	}
	msg, err := stream.GetMsg(b.t.Context(), 1)
	if err != nil {
		b.t.Fatal(err)
	}
	return msg
}

func (b *fakeBridge) publish(subject string, e events.Event) {
	b.t.Helper()
	body, err := json.Marshal(e)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.js.Publish(b.t.Context(), subject, body); err != nil {
		b.t.Fatal(err)
	}
}

// progress publishes that the task exists.
func (b *fakeBridge) progress(id string) {
	e := event(id, events.StatusSubmitted)
	b.publish(b.subjects.Progress(e.Kind, e.Status, events.Token(id)), e)
}

func (b *fakeBridge) complete(e events.Event) {
	b.publish(b.subjects.Completion(e.Kind, e.Status, events.Token(e.RequestID)), e)
}

func event(id string, status events.Status) events.Event {
	now := events.At(time.Now())
	e := events.Event{
		RequestID: id, Kind: "text2video", Status: status, Source: events.SourcePoll, Metadata: map[string]string{},
		RequestedAt: now, PublishedAt: now,
	}
	if status.Terminal() {
		e.CompletedAt = &now
	}
	return e
}

func success(id string, urls ...string) events.Event {
	e := event(id, events.StatusSucceed)
	e.Result = &events.Result{Videos: []events.Video{}, Images: []events.Image{}, Audios: []events.Audio{}, Files: []events.File{}}
	for _, url := range urls {
		e.Result.Videos = append(e.Result.Videos, events.Video{URL: url, DurationSeconds: "5"})
	}
	return e
}

func TestSubmitPublishesTheRequest(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	got := execute(t.Context(), b.environ(), `{"cfg_scale": 0.50, "image": "https://x/?a=1&b=2"}`,
		"submit", "--id", "order-42", "text2video", "-", "--priority", "high", "--prompt", "a <boat>",
		"--set", "settings.duration=5", "--set", "settings.text=hello world", "--set", "duration=\"5\"",
		"--meta", "Tenant=acme", "--timeout", "90") // flags before, between and after the arguments
	if got.code != 0 || got.stdout != "order-42\n" {
		t.Fatalf("exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
	msg := b.request()
	if want := "kling.request.text2video.high"; msg.Subject != want {
		t.Errorf("subject %s, want %s", msg.Subject, want)
	}
	want := `{"cfg_scale":0.50,"duration":"5","image":"https://x/?a=1&b=2","prompt":"a <boat>",` +
		`"settings":{"duration":5,"text":"hello world"}}`
	if string(msg.Data) != want {
		t.Errorf("body %s, want %s", msg.Data, want)
	}
	id, tenant := msg.Header.Get("Kling-Request-Id"), msg.Header.Get("Kling-Meta-Tenant")
	if id != "order-42" || tenant != "acme" {
		t.Errorf("request id %q, tenant %q", id, tenant)
	}
	if timeout := msg.Header.Get("Kling-Timeout"); timeout != "1m30s" && timeout != "90" {
		t.Errorf("timeout %q, want 90 seconds", timeout)
	}
}

func TestSubmitPassesAFileOnUntouched(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	body := `{ "prompt":"x",  "seed": 1e2 }`
	file := filepath.Join(t.TempDir(), "request.json")
	if err := os.WriteFile(file, []byte(body+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", file, "--json")
	var printed struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &printed); err != nil || got.code != 0 {
		t.Fatalf("exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
	msg := b.request()
	if string(msg.Data) != body {
		t.Errorf("body %q, want %q", msg.Data, body)
	}
	if id := msg.Header.Get("Kling-Request-Id"); id != printed.RequestID || id == "" {
		t.Errorf("request id %q is printed as %q", id, printed.RequestID)
	}
}

func TestSubmitWaits(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	const url = "https://cdn.example/a.mp4?sig=a~b&x=1"
	stderr := newSignalBuffer("submitted")
	done := make(chan int)
	var stdout strings.Builder
	go func() {
		args := []string{"submit", "text2video", "--prompt", "x", "--id", "w1", "--wait"}
		done <- run(t.Context(), args, b.environ(), strings.NewReader(""), &stdout, stderr)
	}()
	b.progress("w1")
	<-stderr.seen // the completion comes while submit waits
	b.complete(success("w1", url))
	if code := <-done; code != 0 || stdout.String() != url+"\n" {
		t.Errorf("exit %d, stdout %q, stderr %q", code, stdout.String(), stderr)
	}
	if !strings.Contains(stderr.String(), "succeed") || strings.Contains(stderr.String(), "\x1b") {
		t.Errorf("stderr %q", stderr)
	}
}

func TestSubmitWaitPrintsTheEventItself(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	e := success("w2", "https://cdn.example/a.mp4")
	b.complete(e) // a request that was sent before: its completion is already there
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "w2", "--wait", "--json")
	want, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	if got.code != 0 || got.stdout != string(want)+"\n" {
		t.Errorf("exit %d, stdout %q, want %q", got.code, got.stdout, want)
	}
}

func TestSubmitFailsWithTheTask(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	e := event("w3", events.StatusFailed)
	e.Error = &events.Error{Class: events.ErrorPolicy, Code: 1301, HTTPStatus: 400, Message: "not allowed"}
	b.complete(e)
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "w3", "--wait")
	if got.code != 1 || got.stdout != "" || !strings.Contains(got.lastLine(), "not allowed") {
		t.Errorf("exit %d, stdout %q, stderr %q", got.code, got.stdout, got.stderr)
	}
}

func TestSubmitDownloads(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.URL.Path))
	}))
	t.Cleanup(cdn.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	b.complete(success("w/4", cdn.URL+"/a.mov?sig=1", cdn.URL+"/b"))
	dir := filepath.Join(t.TempDir(), "results")
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "w/4", "--download", dir)
	if got.code != 0 || !strings.Contains(got.stderr, "(6 bytes)") {
		t.Fatalf("exit %d, stderr %q", got.code, got.stderr)
	}
	saved := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		saved[entry.Name()] = string(content)
	}
	token := events.Token("w/4") // an id with a slash must not leave the directory
	want := map[string]string{token + "-1.mov": "/a.mov", token + "-2.mp4": "/b"}
	if diff := cmp.Diff(want, saved); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}

func TestSubmitInterrupted(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stderr := newSignalBuffer("is stored")
	context.AfterFunc(t.Context(), func() { cancel(nil) })
	go func() {
		<-stderr.seen
		cancel(errors.New("interrupt"))
	}()
	args := []string{"submit", "text2video", "--prompt", "x", "--id", "w6", "--wait"}
	code := run(ctx, args, b.environ(), strings.NewReader(""), &strings.Builder{}, stderr)
	if code != 1 || !strings.Contains(stderr.String(), "klingbridge watch --id w6") {
		t.Errorf("exit %d, stderr %q", code, stderr)
	}
}

func TestSubmitAnUnknownKind(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got := execute(ctx, b.environ(), "", "submit", "text3video", "--prompt", "x")
	want := `klingbridge: "text3video" is no kind known here; did you mean text2video? (known are: text2video `
	if got.code != 1 || !strings.HasPrefix(got.complaints(), want) || !strings.HasSuffix(got.stderr, "): no bridge takes it\n") {
		t.Errorf("exit %d, stderr %q, want %q…", got.code, got.stderr, want)
	}
}

func TestSubmitTellsAnExpiryOnce(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	e := event("x1", events.StatusExpired)
	e.Error = &events.Error{Class: events.ErrorExpired, Message: "the deadline passed"}
	b.complete(e)
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "x1", "--wait")
	if want := "klingbridge: request x1: expired: the deadline passed"; got.code != 1 || got.lastLine() != want {
		t.Errorf("exit %d, last line %q, want %q", got.code, got.lastLine(), want)
	}
}

func TestSubmitTriesTheDownloadDirectoryFirst(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	got := execute(ctx, b.environ(), "", "submit", "text2video", "--prompt", "x", "--download", filepath.Join(file, "dir"))
	if got.code != 1 || !strings.Contains(got.stderr, "download directory") {
		t.Errorf("exit %d, stderr %q", got.code, got.stderr)
	}
	if n := b.requests(); n != 0 {
		t.Errorf("%d requests were sent, want none", n)
	}
}

func TestSubmitNamesWhatIsNoJSON(t *testing.T) {
	t.Parallel()
	for body, says := range map[string]string{
		`{"prompt": }`: "invalid character '}'",
		`["prompt"]`:   "it is of type array",
		`{"a":1} {}`:   "something follows",
	} {
		file := filepath.Join(t.TempDir(), "request.json")
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		got := execute(t.Context(), nil, "", "submit", "text2video", file)
		if got.code != 2 || !strings.Contains(got.stderr, file+" is not a JSON object: "+says) {
			t.Errorf("%s: exit %d, stderr %q", body, got.code, got.stderr)
		}
	}
}

// signalBuffer is what a command writes to while a test reads; seen is closed when the text has been written.
type signalBuffer struct {
	text string
	seen chan struct{}

	mu  sync.Mutex // guards what follows: writer and test run at once
	buf strings.Builder
	hit bool
}

func newSignalBuffer(text string) *signalBuffer {
	return &signalBuffer{text: text, seen: make(chan struct{})}
}

func (b *signalBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := b.buf.Write(p)
	if !b.hit && strings.Contains(b.buf.String(), b.text) {
		b.hit = true
		close(b.seen)
	}
	return n, err
}

func (b *signalBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
