package klingtest_test

import (
	"bytes"
	"encoding/json"
	"image/png"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// resultURL returns a URL out of the results of a finished v1 task.
func (a api) resultURL(path, body, list, name string) string {
	a.t.Helper()
	id := a.create(path, body)
	finish(a.t, a.Server, id)
	var task struct {
		Result map[string]json.RawMessage `json:"task_result"`
	}
	if err := json.Unmarshal(a.get(path+"/"+id).Data, &task); err != nil {
		a.t.Fatal(err)
	}
	var items []map[string]any
	if err := json.Unmarshal(task.Result[list], &items); err != nil {
		a.t.Fatal(err)
	}
	return items[0][name].(string)
}

func (a api) file(method, link string, header ...string) answer {
	r := a.request(method, strings.TrimPrefix(link, "http://example.com"), "")
	r.Header.Del("Authorization")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return a.do(r)
}

func TestFiles(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	const audio = "/v1/audio/text-to-audio"
	for _, tt := range []struct{ path, body, list, name, contentType, magic string }{
		{textToVideo, `{"prompt":"p"}`, "videos", "url", "video/mp4", "\x00\x00\x00\x20ftyp"},
		{images, `{"prompt":"p"}`, "images", "url", "image/png", "\x89PNG"},
		{audio, `{"prompt":"p"}`, "audios", "url_mp3", "audio/mpeg", ""},
		{audio, `{"prompt":"p"}`, "audios", "url_wav", "audio/wav", "RIFF"},
	} {
		link := sim.resultURL(tt.path, tt.body, tt.list, tt.name)
		got := sim.file(http.MethodGet, link)
		size := len(got.Body)
		if got.HTTPStatus != http.StatusOK || got.Header.Get("Content-Type") != tt.contentType ||
			!strings.HasPrefix(got.Body, tt.magic) || size < 1000 || size > 30<<10 {
			t.Errorf("%s: %d %v, %d bytes %.12q", tt.name, got.HTTPStatus, got.Header, size, got.Body)
		}
		head := sim.file(http.MethodHead, link)
		if head.Header.Get("Content-Length") != strconv.Itoa(size) || head.Body != "" {
			t.Errorf("%s: HEAD says %v", tt.name, head.Header)
		}
		part := sim.file(http.MethodGet, link, "Range", "bytes=100-199")
		if part.HTTPStatus != http.StatusPartialContent || part.Body != got.Body[100:200] {
			t.Errorf("%s: range answered %d with %d bytes", tt.name, part.HTTPStatus, len(part.Body))
		}
	}
}

func TestImageDecodes(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	got := sim.file(http.MethodGet, sim.resultURL(images, `{"prompt":"p"}`, "images", "url"))
	if _, err := png.Decode(bytes.NewReader([]byte(got.Body))); err != nil {
		t.Error(err)
	}
}

// TestLinksLookAsRecorded: they hold the characters that clients like to encode.
func TestLinksLookAsRecorded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := newAPI(t, klingtest.Options{})
		link := sim.resultURL(textToVideo, `{"prompt":"p"}`, "videos", "url")
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		expires := strconv.FormatInt(time.Now().Add(30*24*time.Hour).Unix(), 10)
		if q := u.Query(); q.Get("Expires") != expires || q.Get("Key-Pair-Id") != "K0" || q.Get("cacheKey") == "" ||
			!strings.Contains(q.Get("Signature"), "~") || !strings.HasSuffix(q.Get("Signature"), "__") || len(link) < 400 {
			t.Errorf("link %s", link)
		}
		if got := sim.file(http.MethodGet, link); got.HTTPStatus != http.StatusOK {
			t.Errorf("fresh: %d", got.HTTPStatus)
		}
		for change, altered := range map[string]string{
			"encoded ~":  strings.Replace(link, "~", "%7E", 1),
			"sorted":     u.Path + "?" + u.Query().Encode(),
			"more":       link + "&download=1",
			"less":       strings.TrimSuffix(link, "&Key-Pair-Id=K0"),
			"other file": strings.Replace(link, ".mp4", ".png", 1),
			"no query":   u.Path,
			"later":      strings.Replace(link, expires, expires+"0", 1),
		} {
			if got := sim.file(http.MethodGet, altered); got.HTTPStatus != http.StatusForbidden {
				t.Errorf("%s: %d, want 403", change, got.HTTPStatus)
			}
		}
		if got := sim.file(http.MethodPost, link); got.HTTPStatus != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", got.HTTPStatus)
		}
		time.Sleep(30 * 24 * time.Hour)
		if got := sim.file(http.MethodGet, link); got.HTTPStatus != http.StatusForbidden {
			t.Errorf("after 30 days: %d, want 403", got.HTTPStatus)
		}
	})
}
