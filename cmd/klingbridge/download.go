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
	for i, file := range files {
		name := filepath.Join(dir, file.name(token, i+1))
		size, err := save(ctx, file.url, name)
		if err != nil {
			return fmt.Errorf("download %s: %w", name, err)
		}
		fmt.Fprintf(p.stderr, "saved %s (%s)\n", name, formatSize(size))
	}
	return nil
}

// save writes what the URL holds to a temporary file and renames it when it is whole.
func save(ctx context.Context, url, name string) (size int64, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("%s answered %s", request.URL.Host, response.Status)
	}
	temp, err := os.CreateTemp(filepath.Dir(name), ".klingbridge-*")
	if err != nil {
		return 0, err
	}
	defer os.Remove(temp.Name()) // nothing is left of it after the rename
	size, err = io.Copy(temp, response.Body)
	if err := errors.Join(err, temp.Chmod(0o644), temp.Close()); err != nil {
		return 0, err
	}
	return size, os.Rename(temp.Name(), name)
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
