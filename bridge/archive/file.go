package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// fileStore keeps files below a directory, which it makes where there is none.
type fileStore struct{ dir string }

// put writes under another name first. What a killed process has left of an earlier try goes: were another replica
// still writing it, its rename would fail, and the file be there all the same.
func (s fileStore) put(ctx context.Context, name string, f *download) (string, error) {
	path := filepath.Join(s.dir, filepath.FromSlash(name))
	dir, base := filepath.Split(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := removeParts(dir, base); err != nil {
		return "", err
	}
	part, err := os.CreateTemp(dir, partPrefix(base)+"*")
	if err != nil {
		return "", err
	}
	defer os.Remove(part.Name()) // nothing is left of it after the rename
	_, err = io.Copy(part, contextReader{ctx, f})
	if err := errors.Join(err, part.Chmod(0o644), part.Sync(), part.Close()); err != nil {
		return "", err
	}
	if err := f.verify(ctx, nil); err != nil {
		return "", err
	}
	if err := os.Rename(part.Name(), path); err != nil {
		return "", err
	}
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String(), s.sync(dir)
}

func partPrefix(base string) string { return "." + base + ".part-" }

func removeParts(dir, base string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), partPrefix(base)) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sync makes the entries of dir, and of the directories above it in the archive, survive a power failure.
func (s fileStore) sync(dir string) error {
	for dir = filepath.Clean(dir); len(dir) >= len(s.dir); dir = filepath.Dir(dir) {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		err = d.Sync()
		d.Close()
		if err != nil {
			return fmt.Errorf("sync %s: %w", dir, err)
		}
	}
	return nil
}

func (fileStore) close() {}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
