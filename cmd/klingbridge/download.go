package main

import (
	"context"
	"errors"
	"fmt"
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

// resultFiles lists the files of a result: videos, images, audios, then the others. Watermarked twins are left out.
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
	for _, file := range r.Files {
		files = append(files, resultFile{file.URL, ".bin"})
	}
	return slices.DeleteFunc(files, func(f resultFile) bool { return f.url == "" })
}

// name returns <token>-<n> with the extension of the URL's path.
func (f resultFile) name(token string, n int) string {
	var ext string
	if u, err := url.Parse(f.url); err == nil {
		ext = strings.ToLower(path.Ext(u.Path))
	}
	if !slices.Contains([]string{
		".mp4", ".mov", ".png", ".jpg", ".jpeg", ".webp", ".mp3", ".wav", ".srt", ".ass", ".vtt",
	}, ext) {
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
	line := p.newLive()
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
