package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/klingbridge/klingbridge/events"
)

// resultFile is one file of a result.
type resultFile struct {
	url string
	ext string // where the URL names none
}

// resultFiles lists the files of a result: videos, then images, then audios. Watermarked twins are left out.
func resultFiles(r *events.Result) []resultFile {
	if r == nil {
		return nil
	}
	var files []resultFile
	for _, video := range r.Videos {
		files = append(files, resultFile{video.URL, ".mp4"})
	}
	for _, image := range r.Images {
		files = append(files, resultFile{image.URL, ".png"})
	}
	for _, audio := range r.Audios {
		files = append(files, resultFile{audio.URLMP3, ".mp3"}, resultFile{audio.URLWAV, ".wav"})
	}
	return slices.DeleteFunc(files, func(f resultFile) bool { return f.url == "" })
}

// name returns <token>-<n> with the extension of the URL's path.
func (f resultFile) name(token string, n int) string {
	var ext string
	if u, err := url.Parse(f.url); err == nil {
		ext = strings.ToLower(path.Ext(u.Path))
	}
	if !slices.Contains([]string{".mp4", ".mov", ".png", ".jpg", ".jpeg", ".webp", ".mp3", ".wav"}, ext) {
		ext = f.ext
	}
	return fmt.Sprintf("%s-%d%s", token, n, ext)
}

// writable makes the directory and tries it, before anything is paid for what it shall hold.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the download directory: %w", err)
	}
	probe, err := os.CreateTemp(dir, ".klingbridge-*")
	if err != nil {
		return fmt.Errorf("write in the download directory: %w", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// download saves the files in dir, which exists, one after the other, and says so on stderr.
func (p *program) download(ctx context.Context, dir, token string, files []resultFile) error {
	line := newLive(p.stderr, isTerminal(p.stderr))
	for i, file := range files {
		t := transfer{url: file.url, name: filepath.Join(dir, file.name(token, i+1))}
		shown := func(context.Context) (string, bool) { return t.progress(), true }
		err := line.while(ctx, liveInterval, shown, func() error { return t.run(ctx) })
		if err != nil {
			return fmt.Errorf("download %s: %w; the same command goes on from here", t.name, err)
		}
		fmt.Fprintf(p.stderr, "saved %s (%s)\n", t.name, formatSize(t.done.Load()))
	}
	return nil
}

// transfer saves what a URL holds as a file. What has come so far is kept in a file beside it, from which a later
// transfer goes on.
type transfer struct {
	url, name string

	done, total atomic.Int64 // bytes; total is 0 while it is not known
}

// partSuffix ends the name of a file that is not whole.
const partSuffix = ".part"

func (t *transfer) run(ctx context.Context) error {
	part, err := os.OpenFile(t.name+partSuffix, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	err = t.fetch(ctx, part)
	if err := errors.Join(err, part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), t.name)
}

// fetch asks for what is missing. A server that can't answer that sends the whole.
func (t *transfer) fetch(ctx context.Context, part *os.File) error {
	have, err := part.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, t.url, http.NoBody)
	if err != nil {
		return err
	}
	if have > 0 {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	switch {
	case response.StatusCode == http.StatusPartialContent && beginsAt(response, have):
	case response.StatusCode == http.StatusOK:
		have = 0
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable && endsAt(response, have): // it is whole
		t.done.Store(have)
		return nil
	case response.StatusCode == http.StatusRequestedRangeNotSatisfiable: // there is more of it here than there
		return errors.Join(fmt.Errorf("%s has another file now", request.URL.Host), part.Truncate(0))
	default:
		return fmt.Errorf("%s answered %s", request.URL.Host, response.Status)
	}
	if _, err := part.Seek(have, io.SeekStart); err != nil {
		return err
	}
	if err := part.Truncate(have); err != nil {
		return err
	}
	t.done.Store(have)
	if response.ContentLength >= 0 {
		t.total.Store(have + response.ContentLength)
	}
	_, err = io.Copy(io.MultiWriter(part, t), response.Body)
	return err
}

func beginsAt(r *http.Response, at int64) bool {
	return strings.HasPrefix(r.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", at))
}

func endsAt(r *http.Response, size int64) bool {
	return r.Header.Get("Content-Range") == fmt.Sprintf("bytes */%d", size)
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

func formatSize(n int64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
