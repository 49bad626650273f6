package bridge_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// place is an archive for tests.
type place struct {
	url  string
	read func(w *world, archiveURL string) []byte
	list func(w *world) []string // the names of all files
}

func places(t *testing.T) map[string]place {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "results")
	s3 := startS3(t)
	return map[string]place{
		"directory": {
			url: "file://" + filepath.ToSlash(dir),
			read: func(w *world, at string) []byte {
				data, err := os.ReadFile(strings.TrimPrefix(at, "file://"))
				if err != nil {
					w.t.Fatal(err)
				}
				return data
			},
			list: func(w *world) []string { return filesBelow(w.t, dir) },
		},
		"nats": {
			url: "nats://results",
			read: func(w *world, at string) []byte {
				data, err := w.bucket("results").GetBytes(w.ctx, strings.TrimPrefix(at, "nats-object://results/"))
				if err != nil {
					w.t.Fatal(err)
				}
				return data
			},
			list: objectNames,
		},
		"s3": {
			url:  "s3://results/some/prefix?endpoint=" + s3.url,
			read: func(w *world, at string) []byte { return s3.get(w.t, strings.TrimPrefix(at, "s3://results/")) },
			list: func(w *world) []string { return s3.list(w.t, "some/prefix/") },
		},
	}
}

func (w *world) bucket(name string) jetstream.ObjectStore {
	w.t.Helper()
	store, err := w.js.ObjectStore(w.ctx, name)
	if err != nil {
		w.t.Fatal(err)
	}
	return store
}

func objectNames(w *world) []string {
	w.t.Helper()
	objects, err := w.bucket("results").List(w.ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	var names []string
	for _, o := range objects {
		names = append(names, o.Name)
	}
	return names
}

func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(dir, path)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
