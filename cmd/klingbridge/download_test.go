package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestDownloadGoesOn has a server break off in the middle of a file, and a second try fetch the rest of it.
func TestDownloadGoesOn(t *testing.T) {
	t.Parallel()
	for name, ranges := range map[string]bool{"from where it was": true, "anew where the server knows no ranges": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := startFakeBridge(t)
			const whole = "the whole of a video"
			var calls atomic.Int32
			cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if calls.Add(1) == 1 {
					w.Header().Set("Content-Length", "20")
					_, _ = w.Write([]byte(whole[:9]))
					return
				}
				if !ranges {
					r.Header.Del("Range")
				}
				http.ServeContent(w, r, "a.mp4", time.Time{}, strings.NewReader(whole))
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
			if diff := cmp.Diff(map[string]string{"w5-1.mp4.part": whole[:9]}, contents(t, dir)); diff != "" {
				t.Errorf("after the first try (-want +got):\n%s", diff)
			}
			if got := submit(); got.code != 0 || !strings.Contains(got.stderr, "(20 bytes)") {
				t.Errorf("got %+v", got)
			}
			if diff := cmp.Diff(map[string]string{"w5-1.mp4": whole}, contents(t, dir)); diff != "" {
				t.Errorf("after the second (-want +got):\n%s", diff)
			}
		})
	}
}

// TestDownloadThatWasWhole has the program die after the last byte and before the file got its name.
func TestDownloadThatWasWhole(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	cdn := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "a.mp4", time.Time{}, strings.NewReader("whole"))
	}))
	t.Cleanup(cdn.Close)
	b.complete(success("w6", cdn.URL+"/a.mp4"))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "w6-1.mp4.part"), []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := execute(t.Context(), b.environ(), "", "submit", "text2video", "--prompt", "x", "--id", "w6", "--download", dir)
	if diff := cmp.Diff(map[string]string{"w6-1.mp4": "whole"}, contents(t, dir)); diff != "" || got.code != 0 {
		t.Errorf("got %+v, files (-want +got):\n%s", got, diff)
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
