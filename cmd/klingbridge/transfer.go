package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
)

// transfer saves what a URL holds as a file. What has come so far is kept in a file beside it, and in another one what it
// is a part of; a later transfer goes on from there if the URL still holds the same.
type transfer struct {
	url, name string

	done, total atomic.Int64 // bytes; total is 0 while it is not known
}

const (
	partSuffix = ".part" // ends the name of a file that is not whole
	fromSuffix = ".from" // ends, after that, the name of the file that says what it is a part of
)

func (t *transfer) partName() string { return t.name + partSuffix }
func (t *transfer) fromName() string { return t.partName() + fromSuffix }

func (t *transfer) run(ctx context.Context) error {
	part, err := os.OpenFile(t.partName(), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	err = t.fetch(ctx, part)
	if err := errors.Join(err, part.Close()); err != nil {
		return err
	}
	if err := os.Rename(part.Name(), t.name); err != nil {
		return err
	}
	return t.forget()
}

// fetch asks for what is missing, or else for the whole.
func (t *transfer) fetch(ctx context.Context, part *os.File) error {
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if validator := t.validator(); have > 0 && validator != "" {
		goesOn, err := t.fetchRest(ctx, part, have, validator)
		if goesOn || err != nil {
			return err
		}
	}
	response, err := t.get(ctx, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	return t.fetchWhole(response, part)
}

// fetchRest adds what is missing, if the URL still holds the file with this validator; else it changes nothing, except
// where the answer is the whole of what is there now. It asks for one byte that is already here: were nothing missing, there
// would be nothing to ask for, and the answer to that does not say of which file.
func (t *transfer) fetchRest(ctx context.Context, part *os.File, have int64, validator string) (done bool, err error) {
	from := have - 1
	response, err := t.get(ctx, http.Header{"Range": {fmt.Sprintf("bytes=%d-", from)}, "If-Range": {validator}})
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return true, t.fetchWhole(response, part)
	}
	now := validatorOf(response)
	if response.StatusCode != http.StatusPartialContent || now != "" && now != validator ||
		!strings.HasPrefix(response.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", from)) {
		return false, nil
	}
	return true, t.save(response, part, from)
}

// fetchWhole begins anew. It notes the validator after the old content is gone: in between there is nothing to go on with.
func (t *transfer) fetchWhole(response *http.Response, part *os.File) error {
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", response.Request.URL.Host, response.Status)
	}
	if err := errors.Join(t.forget(), part.Truncate(0), t.remember(validatorOf(response))); err != nil {
		return err
	}
	return t.save(response, part, 0)
}

func (t *transfer) get(ctx context.Context, header http.Header) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Header = header
	return http.DefaultClient.Do(request)
}

// save writes what comes from a place in the file on.
func (t *transfer) save(response *http.Response, part *os.File, from int64) error {
	if _, err := part.Seek(from, io.SeekStart); err != nil {
		return err
	}
	t.done.Store(from)
	if response.ContentLength >= 0 {
		t.total.Store(from + response.ContentLength)
	}
	_, err := io.Copy(io.MultiWriter(part, t), response.Body)
	return err
}

// validatorOf is what tells a file from others that were or will be at its URL: its ETag, or its date where it has none.
// A weak ETag says only that two files mean the same.
func validatorOf(r *http.Response) string {
	if etag := r.Header.Get("ETag"); etag != "" && !strings.HasPrefix(etag, "W/") {
		return etag
	}
	return r.Header.Get("Last-Modified")
}

// validator is that of the file which the part is of; empty where that is not known.
func (t *transfer) validator() string {
	from, err := os.ReadFile(t.fromName())
	if err != nil {
		return "" // the whole is fetched
	}
	url, validator, _ := strings.Cut(string(from), "\n")
	if url != t.url {
		return ""
	}
	return strings.TrimSuffix(validator, "\n")
}

func (t *transfer) remember(validator string) error {
	if validator == "" {
		return nil
	}
	return os.WriteFile(t.fromName(), []byte(t.url+"\n"+validator+"\n"), 0o600)
}

func (t *transfer) forget() error {
	if err := os.Remove(t.fromName()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Write counts what has come.
func (t *transfer) Write(p []byte) (int, error) {
	t.done.Add(int64(len(p)))
	return len(p), nil
}

// progress is a bar and figures for a person.
func (t *transfer) progress() string {
	const width = 24
	done, total := t.done.Load(), t.total.Load()
	if total == 0 {
		return formatSize(done)
	}
	full := int(width * done / total)
	bar := strings.Repeat("#", full) + strings.Repeat("-", width-full)
	return fmt.Sprintf("%s %3d %% of %s  %s", bar, 100*done/total, formatSize(total), filepath.Base(t.name))
}
