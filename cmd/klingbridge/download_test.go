package main

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// remote is a file as a server has it.
type remote struct {
	body         string
	etag         string
	modified     time.Time
	deaf         bool // the server gives a part whatever If-Range says
	withoutRange bool // the server knows no ranges
}

func (v remote) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v.etag != "" {
		w.Header().Set("ETag", v.etag)
	}
	if v.deaf {
		r.Header.Del("If-Range")
	}
	if v.withoutRange {
		r.Header.Del("Range")
	}
	http.ServeContent(w, r, "a.mp4", v.modified, strings.NewReader(v.body))
}

// cut writes nine bytes and breaks off.
type cut struct{ http.ResponseWriter }

func (c cut) Write(p []byte) (int, error) {
	_, _ = c.ResponseWriter.Write(p[:9])
	_ = http.NewResponseController(c.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// TestDownloadGoesOn has a server break off in the middle of a file, and a second try fetch the rest of it, if it is still
// the same file, or else all of it.
func TestDownloadGoesOn(t *testing.T) {
	t.Parallel()
	then, later := time.Unix(1e9, 0), time.Unix(2e9, 0)
	const whole, changed = "the whole of a video", "another video, which is longer than the first"
	for name, c := range map[string]struct {
		first, second remote
		answers       []int // to the second try
	}{
		"by its etag":             {remote{body: whole, etag: `"1"`}, remote{body: whole, etag: `"1"`}, []int{206}},
		"by its date":             {remote{body: whole, modified: then}, remote{body: whole, modified: then}, []int{206}},
		"a date beside weak etag": {remote{body: whole, etag: `W/"1"`, modified: then}, remote{body: whole, etag: `W/"1"`, modified: then}, []int{206}},
		"another etag":            {remote{body: whole, etag: `"1"`}, remote{body: changed, etag: `"2"`}, []int{200}},
		"another date":            {remote{body: whole, modified: then}, remote{body: changed, modified: later}, []int{200}},
		"neither":                 {remote{body: whole}, remote{body: changed}, []int{200}},
		"a weak etag":             {remote{body: whole, etag: `W/"1"`}, remote{body: changed, etag: `W/"1"`}, []int{200}},
		"no ranges":               {remote{body: whole, etag: `"1"`}, remote{body: whole, etag: `"1"`, withoutRange: true}, []int{200}},
		"deaf, the same":          {remote{body: whole, etag: `"1"`}, remote{body: whole, etag: `"1"`, deaf: true}, []int{206}},
		"deaf, another":           {remote{body: whole, etag: `"1"`}, remote{body: changed, etag: `"2"`, deaf: true}, []int{206, 200}},
		"deaf, shorter":           {remote{body: whole, etag: `"1"`}, remote{body: "short", etag: `"2"`, deaf: true}, []int{416, 200}},
		"deaf, as long as this":   {remote{body: whole, etag: `"1"`}, remote{body: "nine here", etag: `"2"`, deaf: true}, []int{206, 200}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startFakeBridge(t)
			var calls atomic.Int32
			var answers []int // of one call after the other
			cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					c.first.ServeHTTP(cut{w}, r)
					return
				}
				recorded := httptest.NewRecorder()
				c.second.ServeHTTP(recorded, r)
				answers = append(answers, recorded.Code)
				maps.Copy(w.Header(), recorded.Header())
				w.WriteHeader(recorded.Code)
				_, _ = w.Write(recorded.Body.Bytes())
			}))
			t.Cleanup(cdn.Close)
			b.complete(success("w5", cdn.URL+"/a.mp4"))
			dir := t.TempDir()
			submit := func() outcome {
				return execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "w5", "--download", dir)
			}
			if got := submit(); got.code != 1 || !strings.Contains(got.stderr, "goes on from here") {
				t.Fatalf("got %+v", got)
			}
			if part := contents(t, dir)["w5-1.mp4.part"]; part != whole[:9] {
				t.Errorf("after the first try there is %q, want %q", part, whole[:9])
			}
			if got := submit(); got.code != 0 {
				t.Errorf("got %+v", got)
			}
			if diff := cmp.Diff(map[string]string{"w5-1.mp4": c.second.body}, contents(t, dir)); diff != "" {
				t.Errorf("after the second (-want +got):\n%s", diff)
			}
			if !slices.Equal(answers, c.answers) {
				t.Errorf("the second try was answered %v, want %v", answers, c.answers)
			}
		})
	}
}

// TestDownloadFromElsewhere finds what came from another URL, where the same etag says nothing.
func TestDownloadFromElsewhere(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	cdn := httptest.NewServer(remote{body: "the whole of a video", etag: `"1"`})
	t.Cleanup(cdn.Close)
	b.complete(success("w7", cdn.URL+"/a.mp4"))
	dir := t.TempDir()
	for name, content := range map[string]string{"w7-1.mp4.part": "something", "w7-1.mp4.part.from": "http://cdn.example/a.mp4\n\"1\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "w7", "--download", dir)
	if diff := cmp.Diff(map[string]string{"w7-1.mp4": "the whole of a video"}, contents(t, dir)); diff != "" || got.code != 0 {
		t.Errorf("got %+v, files (-want +got):\n%s", got, diff)
	}
}

// TestDownloadThatWasWhole has the program die after the last byte and before the file got its name.
func TestDownloadThatWasWhole(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	var answers []int
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded := httptest.NewRecorder()
		remote{body: "whole", etag: `"1"`}.ServeHTTP(recorded, r)
		answers = append(answers, recorded.Code)
		maps.Copy(w.Header(), recorded.Header())
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(recorded.Body.Bytes())
	}))
	t.Cleanup(cdn.Close)
	b.complete(success("w6", cdn.URL+"/a.mp4"))
	dir := t.TempDir()
	for name, content := range map[string]string{"w6-1.mp4.part": "whole", "w6-1.mp4.part.from": cdn.URL + "/a.mp4\n\"1\"\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "w6", "--download", dir)
	if diff := cmp.Diff(map[string]string{"w6-1.mp4": "whole"}, contents(t, dir)); diff != "" || got.code != 0 {
		t.Errorf("got %+v, files (-want +got):\n%s", got, diff)
	}
	if !slices.Equal(answers, []int{http.StatusPartialContent}) {
		t.Errorf("answers %v", answers)
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(data)
	}
	return files
}

func TestProgressOfADownload(t *testing.T) {
	t.Parallel()
	x := transfer{name: "dir/a.mp4"}
	x.done.Store(1500)
	if got := x.progress(); got != "1.5 kB" {
		t.Errorf("got %q", got)
	}
	x.total.Store(3000)
	if got := x.progress(); got != "############------------  50 % of 3.0 kB  a.mp4" {
		t.Errorf("got %q", got)
	}
}
