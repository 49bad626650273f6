package archive_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/events"
)

// TestCopyTakesMediaOnly has result URLs answer 200 with something else, as edges and expired links do: the first was
// recorded. Each is a failed try, and nothing of it is stored.
func TestCopyTakesMediaOnly(t *testing.T) {
	t.Parallel()
	const (
		mp4  = "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
		png  = "\x89PNG\x0d\x0a\x1a\x0a\x00\x00\x00\x0d"
		page = "<!DOCTYPE html><html><head><title>Sorry</title></head></html>"
		srt  = "1\n00:00:00,000 --> 00:00:01,000\nLand ahead!\n"
		ass  = "[Script Info]\nTitle: a\n"
	)
	video := &events.Result{Videos: []events.Video{{}}}
	audio := &events.Result{Audios: []events.Audio{{}}}
	image := &events.Result{Images: []events.Image{{}}}
	other := &events.Result{Files: []events.File{{Type: "srt"}}}
	for name, test := range map[string]struct {
		result    *events.Result
		typ, body string
		taken     bool
	}{
		"a page for a video":               {video, "text/html", page, false},
		"a page that calls itself a video": {video, "video/mp4", page, false},
		"a page after a byte order mark":   {video, "video/mp4", "\xef\xbb\xbf" + page, false},
		"an error of a bucket":             {video, "application/xml", `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`, false},
		"the same without a declaration":   {image, "application/octet-stream", "<Error><Code>AccessDenied</Code></Error>", false},
		"JSON":                             {image, "application/json", `{"code":403,"message":"expired"}`, false},
		"text":                             {audio, "text/plain", "Forbidden", false},
		"a page that nobody can read":      {video, "text/html; charset=utf-8", "\x1b\x03\x00\x00binary\x00", false},
		"an archive for a video":           {video, "video/mp4", "PK\x03\x04\x00\x00\x00\x00\x00", false},
		"an image for a video":             {video, "video/mp4", png, false},
		"a video for an image":             {image, "image/png", mp4, false},
		"a page for subtitles":             {other, "text/html", page, false},
		"a page that calls itself text":    {other, "text/plain", "\xef\xbb\xbf \n" + page, false},
		"JSON for subtitles":               {other, "text/plain", `{"code":403}`, false},

		"a video":                         {video, "video/mp4", mp4, true},
		"a video under a wrong type":      {video, "text/html", mp4, true},
		"a video that is known to nobody": {video, "", "\x00\x01\x02\x03 something new", true},
		"an image":                        {image, "binary/octet-stream", png, true},
		"an audio":                        {audio, "audio/mpeg", "ID3\x04\x00\x00", true},
		"an audio without a tag":          {audio, "audio/mpeg", "\xff\xfb\x90\x00\x00\x00", true},
		"an audio in a video's box":       {audio, "audio/mp4", mp4, true},
		"subtitles":                       {other, "text/plain", srt, true},
		"subtitles of another form":       {other, "application/octet-stream", ass, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header()["Content-Type"] = []string{test.typ}
				_, _ = w.Write([]byte(test.body))
			}) + "/1"
			r := *test.result
			for range r.Videos {
				r.Videos = []events.Video{{URL: url}}
			}
			for range r.Images {
				r.Images = []events.Image{{URL: url}}
			}
			for range r.Audios {
				r.Audios = []events.Audio{{URLMP3: url}}
			}
			for _, f := range r.Files {
				r.Files = []events.File{{Type: f.Type, URL: url}}
			}
			dir := t.TempDir()
			a := open(t, "file://"+dir, archive.Options{}, nil)
			got, err := a.Copy(t.Context(), archive.Files(&events.Event{RequestID: "order-1", Kind: "text2video", Result: &r})[0])
			stored, _ := filepath.Glob(filepath.Join(dir, "*/*/*/*"))
			if !test.taken {
				if err == nil || errors.Is(err, archive.ErrRefused) || !strings.Contains(err.Error(), "answered with ") || len(stored) > 0 {
					t.Errorf("got %v, stored %q, want a failed try", err, stored)
				}
				return
			}
			if err != nil || len(stored) != 1 || got.Bytes != int64(len(test.body)) {
				t.Fatalf("got %+v, %v, stored %q", got, err, stored)
			}
			if content, err := os.ReadFile(stored[0]); err != nil || string(content) != test.body {
				t.Errorf("stored %q, %v", content, err)
			}
		})
	}
}
