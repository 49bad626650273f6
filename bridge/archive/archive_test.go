package archive_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/events"
)

// TestMain looks for goroutines that are left. The client library leaves one where an upload to an object store ends before
// the goroutine that watches its connection has begun (nats.go 1.55, read in its source).
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

// open returns an archive in a place that may fetch from this machine.
func open(t *testing.T, target string, o archive.Options, js jetstream.JetStream) *archive.Archive {
	t.Helper()
	var err error
	if o.Target, err = archive.ParseTarget(target); err != nil {
		t.Fatal(err)
	}
	if o.Allow == nil {
		o.Allow = archive.Hosts{"127.0.0.1"}
	}
	a, err := archive.New(o, js)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// file is the first file of a result with that URL.
func file(url string) archive.File {
	at := events.At(time.Date(2026, 10, 1, 23, 59, 59, 0, time.UTC))
	return archive.Files(&events.Event{
		RequestID: "order-1", Kind: "text2video", CompletedAt: &at,
		Result: &events.Result{Videos: []events.Video{{URL: url}}},
	})[0]
}

// TestFilesOfEverySort copies each URL of a result once, and names what Kling's solutions make by their URLs.
func TestFilesOfEverySort(t *testing.T) {
	t.Parallel()
	source := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header()["Content-Type"] = []string{"application/octet-stream"}
		_, _ = io.WriteString(w, "\x00"+r.URL.Path) // as bytes of media, known to nobody
	})
	a := open(t, "file://"+t.TempDir(), archive.Options{}, nil)
	files := archive.Files(&events.Event{RequestID: "order-1", Kind: "drama-subtitle", Result: &events.Result{
		Videos: []events.Video{{URL: source + "/v", WatermarkURL: source + "/vw"}},
		Images: []events.Image{{WatermarkURL: source + "/iw"}},
		Audios: []events.Audio{{URLMP3: source + "/m", URLWAV: source + "/w"}},
		Files:  []events.File{{Type: "srt", URL: source + "/f.SRT?x=.html"}, {Type: "html", URL: source + "/g.html"}},
	}})
	var got []string
	for _, f := range files {
		copied, err := a.Copy(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, strings.TrimPrefix(copied.SourceURL, source)+" "+filepath.Base(copied.ArchiveURL))
	}
	want := "/v 1.mp4, /vw 2.mp4, /iw 3.png, /m 4.mp3, /w 5.wav, /f.SRT?x=.html 6.srt, /g.html 7.bin"
	if names := strings.Join(got, ", "); names != want {
		t.Errorf("got %s, want %s", names, want)
	}
}

func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func TestCopy(t *testing.T) {
	t.Parallel()
	content := bytes.Repeat([]byte("frames\x00"), 100_000)
	for name, test := range map[string]struct {
		path string
		typ  string
		want string // name in the archive
		wire string // content type of the event
	}{
		"the URL names the sort":         {"/a/clip.MOV?x=.mp4", "video/mp4", "1.mov", "video/mp4"},
		"the content type names it":      {"/clip", "image/webp; q=1", "1.webp", "image/webp"},
		"neither does":                   {"/clip", "", "1.mp4", "application/octet-stream"},
		"an extension we don't know":     {"/clip.php", "application/x-evil", "1.mp4", "application/x-evil"},
		"an extension with a path in it": {"/clip.mp4%2f..%2f..%2fevil", "video/mp4", "1.mp4", "video/mp4"},
		"no content type at all":         {"/clip.mp4", "/;;", "1.mp4", "application/octet-stream"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Type"] = []string{test.typ}
				if r.URL.Query().Has("chunked") {
					w.(http.Flusher).Flush() // no Content-Length
				}
				_, _ = w.Write(content)
			})
			dir := t.TempDir()
			a := open(t, "file://"+dir, archive.Options{}, nil)
			f := file(source + test.path)
			for range 2 { // the second time overwrites
				got, err := a.Copy(t.Context(), f)
				if err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(content)
				want := events.ArchivedFile{
					SourceURL: f.URL, ArchiveURL: "file://" + dir + "/text2video/2026-10-01/order-1/" + test.want,
					Bytes: int64(len(content)), SHA256: hex.EncodeToString(sum[:]), ContentType: test.wire,
				}
				if got != want {
					t.Errorf("got %+v\nwant %+v", got, want)
				}
			}
			stored, err := os.ReadFile(filepath.Join(dir, "text2video", "2026-10-01", "order-1", test.want))
			if err != nil || !bytes.Equal(stored, content) {
				t.Errorf("%d bytes stored, %v", len(stored), err)
			}
			entries, _ := filepath.Glob(filepath.Join(dir, "text2video/2026-10-01/order-1/*"))
			if len(entries) != 1 {
				t.Errorf("files %q", entries)
			}
		})
	}
}

// TestCopyRemovesWhatAKillHasLeft finds a part of an earlier try.
func TestCopyRemovesWhatAKillHasLeft(t *testing.T) {
	t.Parallel()
	source := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "\x00whole") })
	dir := filepath.Join(t.TempDir(), "text2video", "2026-10-01", "order-1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".1.mp4.part-123", ".11.mp4.part-1"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("wh"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := open(t, "file://"+filepath.Dir(filepath.Dir(filepath.Dir(dir))), archive.Options{}, nil)
	if _, err := a.Copy(t.Context(), file(source+"/clip.mp4")); err != nil {
		t.Fatal(err)
	}
	var names []string
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if got := strings.Join(names, " "); got != ".11.mp4.part-1 1.mp4" || err != nil {
		t.Errorf("left %q, %v", got, err)
	}
}

// TestCopyBadSources answers badly in many ways. Nothing of it is stored, anywhere.
func TestCopyBadSources(t *testing.T) {
	server := bustest.Start(t)
	js, err := jetstream.New(server.Connect())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "k")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	s3 := newSink(t)
	half := func(w http.ResponseWriter) {
		_, _ = w.Write(make([]byte, 6<<20)) // more than one part of an upload
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		refused bool
		want    string
	}{
		"missing":      {func(w http.ResponseWriter, _ *http.Request) { http.NotFound(w, nil) }, false, "answered 404"},
		"no content":   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }, false, "answered 204"},
		"a part of it": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusPartialContent) }, false, "answered 206"},
		"empty":        {func(http.ResponseWriter, *http.Request) {}, false, "empty"},
		"cut off, size known": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "8000000")
			half(w)
		}, false, "broken off after"},
		"cut off, size unknown": {func(w http.ResponseWriter, _ *http.Request) { half(w) }, false, "broken off after"},
		"announced too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9000000")
		}, true, "more than the limit of 8000000 bytes"},
		"too large": {func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = w.Write(make([]byte, 8_000_001))
		}, true, "more than the limit of 8000000 bytes"},
		"silent": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = w.Write(make([]byte, 1000))
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, false, "sent nothing for too long"},
		"silent from the start": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, false, "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			source := serve(t, test.handler)
			dir := t.TempDir()
			for _, target := range []string{"file://" + dir, "nats://results", "s3://results?endpoint=" + s3.url} {
				o := archive.Options{MaxBytes: 8_000_000}
				if strings.HasPrefix(name, "silent") { // the others may take their time on a busy machine
					o.ReadTimeout = 200 * time.Millisecond
				}
				a := open(t, target, o, js)
				_, err := a.Copy(t.Context(), file(source+"/clip.mp4?Signature=hunter2"))
				if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s: got %v, want %q", target, err, test.want)
				}
				if errors.Is(err, archive.ErrRefused) != test.refused {
					t.Errorf("%s: refused is %t, want %t", target, !test.refused, test.refused)
				}
			}
			if found, _ := filepath.Glob(filepath.Join(dir, "text2video/*/*/*")); len(found) > 0 {
				t.Errorf("left %q", found)
			}
			if found, _ := filepath.Glob(filepath.Join(dir, "text2video/*/*/.*")); len(found) > 0 {
				t.Errorf("left %q", found)
			}
			if n := s3.completed.Load(); n > 0 {
				t.Errorf("%d objects in S3", n)
			}
			if open := s3.begun.Load() - s3.aborted.Load(); open != 0 {
				t.Errorf("%d uploads to S3 were not aborted", open)
			}
		})
	}
	stream, err := js.Stream(t.Context(), "OBJ_results")
	if err != nil {
		t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Msgs; n > 0 {
		t.Errorf("%d messages in the bucket", n)
	}
}

// sink takes S3 uploads and keeps nothing.
type sink struct {
	url                       string
	begun, aborted, completed atomic.Int64
	taken                     atomic.Int64
}

func newSink(t *testing.T) *sink {
	t.Helper()
	s := &sink{}
	s.url = serve(t, s.ServeHTTP)
	return s
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := io.Copy(io.Discard, r.Body)
	s.taken.Add(n)
	w.Header().Set("ETag", `"0"`)
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodPost && q.Has("uploads"):
		s.begun.Add(1)
		_, _ = io.WriteString(w, `<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
	case r.Method == http.MethodPost:
		s.begun.Add(-1)
		s.completed.Add(1)
		_, _ = io.WriteString(w, `<CompleteMultipartUploadResult><Bucket>results</Bucket><ETag>"0"</ETag></CompleteMultipartUploadResult>`)
	case r.Method == http.MethodDelete:
		s.aborted.Add(1)
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodPut && !q.Has("partNumber") && err == nil:
		s.completed.Add(1)
	}
}

// TestCopyStreams copies 64 MB and looks at the memory in use every 4 MB. The source gives no more than 16 MB that are not yet
// where they go: a NATS server that is slower than the source keeps the rest in memory, in this process.
func TestCopyStreams(t *testing.T) {
	const size, step, ahead = 64 << 20, 4 << 20, 16 << 20
	server := bustest.Start(t)
	js, err := jetstream.New(server.Connect())
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", "k")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "s")
	for name, place := range map[string]struct {
		target string
		bound  int64
		stored func() uint64 // bytes; nil: the source need not wait
	}{
		"directory": {"file://" + t.TempDir(), 4 << 20, nil},
		"nats":      {"nats://results", 40 << 20, func() uint64 { return storedIn(t, js, "OBJ_results") }}, // with the server's own buffers
		"s3":        {"s3://results?endpoint=" + newSink(t).url, 12 << 20, nil},
	} {
		for _, announced := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, size known: %t", name, announced), func(t *testing.T) {
				var before, most, at uint64
				if place.stored != nil {
					at = place.stored()
				}
				source := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					if announced {
						w.Header().Set("Content-Length", fmt.Sprint(size))
					}
					zeros := make([]byte, 64<<10)
					for sent := 0; sent < size; sent += len(zeros) {
						if sent%step == 0 {
							if place.stored != nil && sent > ahead {
								eventually(t, "what was given is stored", func() bool { return place.stored() >= at+uint64(sent-ahead) })
							}
							most = max(most, inUse())
						}
						_, _ = w.Write(zeros)
					}
				})
				a := open(t, place.target, archive.Options{}, js)
				before = inUse()
				got, err := a.Copy(t.Context(), file(source+"/clip.mp4"))
				if err != nil || got.Bytes != size {
					t.Fatalf("%+v, %v", got, err)
				}
				used := int64(most) - int64(before)
				t.Logf("at most %d KB more in use", used>>10)
				if used > place.bound {
					t.Errorf("%d MB more in use, want at most %d", used>>20, place.bound>>20)
				}
			})
		}
	}
}

// storedIn is how many bytes a stream holds; 0: there is none.
func storedIn(t *testing.T, js jetstream.JetStream, stream string) uint64 {
	t.Helper()
	s, err := js.Stream(t.Context(), stream)
	if err != nil {
		return 0
	}
	return s.CachedInfo().State.Bytes
}

// eventually polls a condition that has no signal of its own. It may be called from any goroutine.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Errorf("waited in vain until %s", what)
			return
		case <-tick.C:
		}
	}
}

// inUse is what is left of the heap after a collection.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestCopyEnds stops with its context, wherever it is.
func TestCopyEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	source := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(make([]byte, 1000))
		w.(http.Flusher).Flush()
		cancel()
		<-r.Context().Done()
	})
	a := open(t, "file://"+t.TempDir(), archive.Options{}, nil)
	if _, err := a.Copy(ctx, file(source+"/clip.mp4")); err == nil {
		t.Error("no error")
	}
}

// TestCopySendsNothingOfOurs looks at what a source gets to see, and that it gets the URL to the byte.
func TestCopySendsNothingOfOurs(t *testing.T) {
	t.Parallel()
	const raw = "/files/a%2Fb/c~d.mp4?cacheKey=1ct1-_&x=%2f%2F+~&Signature=a=b=="
	source := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.RequestURI != raw {
			t.Errorf("URI %s, want %s", r.RequestURI, raw)
		}
		for name := range r.Header {
			if name != "User-Agent" {
				t.Errorf("header %s: %q", name, r.Header[name])
			}
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "1"})
		_, _ = io.WriteString(w, "\x00clip")
	})
	a := open(t, "file://"+t.TempDir(), archive.Options{}, nil)
	for range 2 {
		if _, err := a.Copy(t.Context(), file(source+raw)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFileURL escapes what a directory's name may hold.
func TestFileURL(t *testing.T) {
	t.Parallel()
	source := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "\x00clip") })
	dir := filepath.Join(t.TempDir(), "my results #1")
	a := open(t, (&url.URL{Scheme: "file", Path: dir}).String(), archive.Options{}, nil)
	got, err := a.Copy(t.Context(), file(source+"/clip.mp4"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(got.ArchiveURL)
	if err != nil || u.Path != dir+"/text2video/2026-10-01/order-1/1.mp4" {
		t.Errorf("%s, %v", got.ArchiveURL, err)
	}
}
