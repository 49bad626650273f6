package klingtest

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha512"
	"embed"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

const (
	filesPath  = "/files/"
	linkLife   = 30 * 24 * time.Hour // recorded exactly so
	signedText = 4                   // hashes, so that links are as long as the recorded ones
)

//go:embed media
var mediaFiles embed.FS

// files serves results. It keeps nothing: a link carries its own proof.
type files struct{ key []byte }

func newFiles(d *dice) files { return files{key: strconv.AppendInt(nil, d.between(0, 1<<62), 10)} }

// link returns path and query of a result, in one of the recorded forms, with their characters.
func (f files) link(name string, made time.Time) string {
	folder := map[string]string{
		".mp4": "VIDEO", ".png": "IMAGE", ".mp3": "AUDIO", ".wav": "AUDIO", ".srt": "TEXT", ".ass": "TEXT",
	}[path.Ext(name)]
	file := filesPath + "bs2/upload-kling/" + folder + "/" + made.UTC().Format("20060102") + "/" + name
	return file + "?" + f.query(file, made.Add(linkLife).Unix())
}

// query is all that may follow the path: Kling's CDN signs it, so a client that re-encodes it is refused.
func (f files) query(file string, expires int64) string {
	var sum []byte
	for i := range signedText {
		mac := hmac.New(sha512.New, f.key)
		fmt.Fprintf(mac, "%s %d %d", file, expires, i)
		sum = mac.Sum(sum)
	}
	cacheKey := base64.RawURLEncoding.EncodeToString(sum[:48])
	signature := strings.NewReplacer("+", "-", "/", "~", "=", "_").Replace(base64.StdEncoding.EncodeToString(sum))
	return fmt.Sprintf("cacheKey=%s&x-kcdn-pid=112781&Expires=%d&Signature=%s&Key-Pair-Id=K0",
		cacheKey, expires, signature)
}

// serve needs no Authorization, as a developer found, and takes Range.
func (f files) serve(w http.ResponseWriter, r *http.Request, now time.Time) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if !f.valid(r.URL, now) {
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>AccessDenied</Code></Error>`)
		return
	}
	name := map[string]string{
		".mp4": "video.mp4", ".png": "image.png", ".mp3": "audio.mp3", ".wav": "audio.wav",
		".srt": "subtitles.srt", ".ass": "subtitles.ass",
	}[path.Ext(r.URL.Path)]
	content, err := mediaFiles.ReadFile("media/" + name)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", contentType(name))
	w.Header().Set("ETag", strconv.Quote(path.Base(r.URL.Path)))
	http.ServeContent(w, r, name, time.Time{}, bytes.NewReader(content))
}

// contentType is fixed here because the machine's own tables differ about wav.
func contentType(name string) string {
	return map[string]string{
		".mp4": "video/mp4", ".png": "image/png", ".mp3": "audio/mpeg", ".wav": "audio/wav",
		".srt": "application/x-subrip", ".ass": "text/x-ssa",
	}[path.Ext(name)]
}

// valid reports whether path and query are those of a link, to the byte, and not expired.
func (f files) valid(u *url.URL, now time.Time) bool {
	expires, err := strconv.ParseInt(u.Query().Get("Expires"), 10, 64)
	if err != nil || now.Unix() >= expires {
		return false
	}
	return hmac.Equal([]byte(u.RawQuery), []byte(f.query(u.EscapedPath(), expires)))
}
