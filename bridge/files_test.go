package bridge_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/files"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// video is what no image is, of a size that takes several chunks.
func video(size int) []byte {
	data := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data) // never fails
	copy(data, "\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom")
	return data
}

// oddReader gives a little less each time: the client makes a chunk of each read.
type oddReader struct {
	r    io.Reader
	most int
}

func (o *oddReader) Read(p []byte) (int, error) {
	o.most = max(o.most-1000, 1000)
	return o.r.Read(p[:min(len(p), o.most)])
}

// put stores an object. Without a content type only its bytes tell what it is.
func (w *world) store(bucket, name, contentType string, r io.Reader) {
	w.t.Helper()
	store, err := w.js.CreateOrUpdateObjectStore(w.ctx, jetstream.ObjectStoreConfig{Bucket: bucket})
	if err != nil {
		w.t.Fatal(err)
	}
	meta := jetstream.ObjectMeta{Name: name}
	if contentType != "" {
		meta.Headers = nats.Header{"Content-Type": {contentType}}
	}
	if _, err := store.Put(w.ctx, meta, r); err != nil {
		w.t.Fatal(err)
	}
}

// lipSync asks for a task with a video in a field within another.
func (w *world) lipSync(id, video string, timeout time.Duration) {
	w.t.Helper()
	w.request(testRequest{Kind: events.KindLipSync, ID: id, Timeout: timeout, Body: body(map[string]any{"input": map[string]any{
		"mode": "text2video", "text": "a", "voice_id": "v", "video_url": video,
	}})})
}

// sentVideo is the video_url that Kling has got for a request.
func (w *world) sentVideo(id string) string {
	w.t.Helper()
	var task klingtest.TaskView
	w.eventually("Kling has the task of "+id, func() bool {
		for _, t := range w.sim.Tasks() {
			if strings.HasSuffix(t.ExternalID, "-"+id) {
				task = t
				return true
			}
		}
		return false
	})
	var sent struct {
		Input struct {
			VideoURL string `json:"video_url"`
		}
	}
	if err := json.Unmarshal(task.Body, &sent); err != nil {
		w.t.Fatal(err)
	}
	return sent.Input.VideoURL
}

// fetch asks for a URL with a method and headers.
func (w *world) fetch(method, url string, headers ...string) (a answer, body []byte) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, url, http.NoBody)
	if err != nil {
		w.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err = io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%s %v: %v", method, headers, err)
	}
	return answer{res.StatusCode, res.Header}, body
}

// TestFilesByURL has Kling fetch what it takes by URL only, while images are sent.
func TestFilesByURL(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	clip := video(500_000)
	w.store("in", "a/b c?#%2F/ä.mp4", "", bytes.NewReader(clip))
	w.store("in", "png", "", strings.NewReader("\x89PNG\r\n\x1a\n"))
	w.store("in", "told", "image/webp", strings.NewReader("what it says"))
	w.store("in", "sound", "", strings.NewReader("ID3\x03"))
	w.lipSync("odd-name", "nats-object://in/a/b c?#%2F/ä.mp4", time.Minute)
	if ev := w.await("odd-name"); ev.Status != events.StatusSucceed {
		t.Fatalf("%+v", ev)
	}
	sent := w.sentVideo("odd-name")
	if !regexp.MustCompile(`^` + w.replicas[0].callbackURL + `/files/in/a%2Fb%20c%3F%23%252F%2F%C3%A4\.mp4/\d{10}/[\w-]{43}$`).MatchString(sent) {
		t.Errorf("Kling got %s", sent)
	}
	if _, got := w.fetch(http.MethodGet, sent); !bytes.Equal(got, clip) {
		t.Errorf("%d bytes", len(got))
	}
	u, err := url.Parse(sent)
	if err != nil {
		t.Fatal(err)
	}
	u.RawPath = strings.ReplaceAll(u.RawPath, "%2F", "/") // as a proxy may
	if res, got := w.fetch(http.MethodGet, u.String()); !bytes.Equal(got, clip) {
		t.Errorf("with slashes: %d", res.status)
	}

	w.request(testRequest{Kind: "omni-video", ID: "mixed", Body: json.RawMessage(`{"model":"kling-3.0-omni","contents":[
		{"type":"prompt","text":"a"}, {"type":"refer_image","url":"nats-object://in/png"}, {"url":"nats-object://in/told","type":"refer_image"},
		{"type":"feature_video","url":"nats-object://in/sound"}, {"type":"x","url_list":["nats-object://in/sound"],"url":{"x":"nats-object://in/sound"}}],
		"audio":"nats-object://in/sound"}`)})
	if ev := w.await("mixed"); ev.Status != events.StatusSucceed {
		t.Fatalf("%+v", ev)
	}
	task := w.sim.Tasks()[1]
	sound := base64.StdEncoding.EncodeToString([]byte("ID3\x03"))
	byURL := regexp.MustCompile(`"http://[^"]*/files/in/sound/[^"]*"`).FindAllString(string(task.Body), -1)
	for _, want := range []string{
		`"url":"iVBORw0KGgo="`, `"url":"` + base64.StdEncoding.EncodeToString([]byte("what it says")) + `"`,
		`"url_list":["` + sound + `"]`, `"x":"` + sound + `"`, `"audio":"` + sound + `"`,
	} {
		if !strings.Contains(string(task.Body), want) {
			t.Errorf("Kling got %s, want %s", task.Body, want)
		}
	}
	if len(byURL) != 1 {
		t.Errorf("by URL: %q", byURL)
	}

	w.callOK("identify-face", `{"video_url":"nats-object://in/a/b c?#%2F/ä.mp4"}`)

	store, err := w.js.ObjectStore(w.ctx, "in")
	if err != nil {
		t.Fatal(err)
	}
	w.lipSync("gone", "nats-object://in/sound", time.Minute)
	sent = w.sentVideo("gone")
	if err := store.Delete(w.ctx, "sound"); err != nil {
		t.Fatal(err)
	}
	if res, _ := w.fetch(http.MethodGet, sent); res.status != 404 {
		t.Errorf("a deleted object: %d", res.status)
	}
	w.noViolations()
}

// TestFileThatDoesNotServeFailsItsTask has the simulation fetch as Kling does.
func TestFileThatDoesNotServeFailsItsTask(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	w.lipSync("nowhere", w.replicas[0].callbackURL+"/files/in/a.mp4/4102444800/"+strings.Repeat("x", 43), time.Minute)
	if ev := w.await("nowhere"); ev.Status != events.StatusFailed || !strings.Contains(ev.Error.Message, "contents of the file") {
		t.Errorf("%+v", ev)
	}
}

// TestFileNeedsPublicURL rejects what Kling could not get.
func TestFileNeedsPublicURL(t *testing.T) {
	t.Parallel()
	w := start(t, setup{pollOnly: true, bridge: bridge.Options{PollMinInterval: 50 * time.Millisecond}})
	w.store("in", "a.mp4", "", bytes.NewReader(video(100)))
	w.lipSync("no-url", "nats-object://in/a.mp4", time.Minute)
	if ev := w.await("no-url"); ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInput ||
		!strings.Contains(ev.Error.Message, "BRIDGE_PUBLIC_URL") {
		t.Errorf("%+v", ev)
	}
	if len(w.sim.Tasks()) > 0 {
		t.Error("there is a task")
	}
}

// TestFileRanges asks for parts of an object whose chunks are of different sizes, with another upload between them.
func TestFileRanges(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Duration: time.Hour}})
	clip := video(1_000_000)
	w.store("in", "even.mp4", "video/x-told", bytes.NewReader(clip))
	w.store("in", "odd", "", io.MultiReader(
		&oddReader{bytes.NewReader(clip[:600_000]), 128 << 10},
		readerFunc(func() { w.store("in", "between", "", bytes.NewReader(clip[:300_000])) }),
		&oddReader{bytes.NewReader(clip[600_000:]), 64 << 10},
	))
	for name, contentType := range map[string]string{"even.mp4": "video/x-told", "odd": "video/mp4"} {
		w.lipSync(name[:3], "nats-object://in/"+name, time.Hour)
		sent := w.sentVideo(name[:3])
		res, got := w.fetch(http.MethodHead, sent)
		tag := res.header.Get("ETag")
		if res.status != 200 || len(got) > 0 || res.header.Get("Content-Length") != "1000000" || res.header.Get("Content-Type") != contentType ||
			tag == "" || res.header.Get("Accept-Ranges") != "bytes" {
			t.Errorf("HEAD %s: %d %v", name, res.status, res.header)
		}
		for _, r := range [][2]int{{0, 0}, {0, 999_999}, {1, 131_071}, {131_072, 131_072}, {599_999, 600_001}, {777_777, 999_999}, {999_999, 999_999}} {
			res, got := w.fetch(http.MethodGet, sent, "Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]), "If-Range", tag)
			if res.status != 206 || !bytes.Equal(got, clip[r[0]:r[1]+1]) || res.header.Get("Content-Range") != fmt.Sprintf("bytes %d-%d/1000000", r[0], r[1]) {
				t.Errorf("%s: bytes %v: %d, %d bytes, %v", name, r, res.status, len(got), res.header)
			}
		}
		if res, got := w.fetch(http.MethodGet, sent, "Range", "bytes=-10"); res.status != 206 || !bytes.Equal(got, clip[999_990:]) {
			t.Errorf("%s: the last bytes: %d", name, res.status)
		}
		if res, _ := w.fetch(http.MethodGet, sent, "Range", "bytes=1000000-"); res.status != 416 {
			t.Errorf("%s: behind the end: %d", name, res.status)
		}
		if res, got := w.fetch(http.MethodGet, sent, "Range", "bytes=0-0,9-9"); res.status != 200 || !bytes.Equal(got, clip) {
			t.Errorf("%s: several parts: %d, %d bytes, want the whole", name, res.status, len(got))
		}
		if res, _ := w.fetch(http.MethodGet, sent, "If-None-Match", tag); res.status != 304 {
			t.Errorf("%s: not changed: %d", name, res.status)
		}
		if res, _ := w.fetch(http.MethodPost, sent); res.status != 405 || res.header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: POST: %d", name, res.status)
		}
	}
}

// readerFunc is called in the middle of an upload and gives nothing.
type readerFunc func()

func (f readerFunc) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// TestFileURLsAreForOneObject tries URLs that were signed for something else, here or elsewhere.
func TestFileURLsAreForOneObject(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	options := bridge.Options{CallbackSecrets: []string{"shared"}, Namespace: "a"}
	w := start(t, setup{natsURL: srv.URL(), bridge: options, sim: klingtest.Options{Duration: time.Hour}})
	w.store("in", "a.mp4", "", bytes.NewReader(video(1000)))
	w.store("in", "b.mp4", "", bytes.NewReader(video(1000)))
	w.store("other", "a.mp4", "", bytes.NewReader(video(1000)))
	w.lipSync("long", "nats-object://in/a.mp4", 48*time.Hour)
	w.lipSync("short", "nats-object://in/a.mp4", 2*time.Second)
	good, short := w.sentVideo("long"), w.sentVideo("short")
	parts := strings.Split(good, "/")
	expires := parts[len(parts)-2]
	if seconds, err := strconv.ParseInt(expires, 10, 64); err != nil || time.Until(time.Unix(seconds, 0)) > 24*time.Hour+time.Minute {
		t.Errorf("it ends at %s", expires)
	}
	if res, _ := w.fetch(http.MethodGet, good); res.status != 200 {
		t.Fatalf("the right one: %d", res.status)
	}
	edit := func(part, other string) string { return strings.Replace(good, part, other, 1) }
	for name, wrong := range map[string]string{
		"another object": edit("/a.mp4/", "/b.mp4/"), "another bucket": edit("/in/", "/other/"), "a later end": edit(expires, "4102444800"),
		"a cut signature": good[:len(good)-1], "no signature": good[:strings.LastIndex(good, "/")], "a list": edit("/a.mp4/", "/"),
		"the bucket": w.replicas[0].callbackURL + "/files/in/", "nothing": w.replicas[0].callbackURL + "/files/",
		"as a callback": edit("/files/", "/callbacks/"), "an end spelled otherwise": edit(expires, "0"+expires),
	} {
		for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost} {
			if res, _ := w.fetch(method, wrong); res.status != 404 {
				t.Errorf("%s %s: %d", method, name, res.status)
			}
		}
	}
	w.eventually("the short one has expired", func() bool {
		res, _ := w.fetch(http.MethodGet, short)
		return res.status == 404
	})
	for name, elsewhere := range map[string]bridge.Options{
		"another namespace":         {CallbackSecrets: options.CallbackSecrets, Namespace: "b"},
		"another secret":            {CallbackSecrets: []string{"other"}, Namespace: "a"},
		"without that bucket":       {CallbackSecrets: options.CallbackSecrets, Namespace: "a", InputBuckets: []string{"other"}},
		"the same":                  options,
		"the second of its secrets": {CallbackSecrets: []string{"new", "shared"}, Namespace: "a"},
	} {
		r := w.startBridge(setup{bridge: elsewhere})
		res, _ := w.fetch(http.MethodGet, strings.Replace(good, w.replicas[0].callbackURL, r.callbackURL, 1))
		right := name == "the same" || strings.HasPrefix(name, "the second")
		if want := map[bool]int{true: 200, false: 404}[right]; res.status != want {
			t.Errorf("%s: %d, want %d", name, res.status, want)
		}
		r.stop()
	}
	srv.Stop()
	if res, _ := w.fetch(http.MethodGet, good); res.status != 503 || res.header.Get("Retry-After") == "" {
		t.Errorf("without JetStream: %d", res.status)
	}
	srv.Restart()
}

// fillDownloads begins downloads that nobody reads.
func (w *world) fillDownloads(path string, n int) {
	w.t.Helper()
	for range n {
		conn := w.stranger()
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: b\r\n\r\n", path); err != nil {
			w.t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 15)); err != nil { // the status: it has its place
			w.t.Fatal(err)
		}
	}
}

// TestTooManyDownloads has as many as there may be, none of which is read, and one more. When the bridge is told to stop, they have
// the time of the shutdown and no more.
func TestTooManyDownloads(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Duration: time.Hour}, bridge: bridge.Options{ShutdownTimeout: 100 * time.Millisecond}})
	w.store("in", "a.mp4", "", bytes.NewReader(video(24<<20)))
	w.lipSync("slow", "nats-object://in/a.mp4", time.Hour)
	u, err := url.Parse(w.sentVideo("slow"))
	if err != nil {
		t.Fatal(err)
	}
	w.fillDownloads(u.EscapedPath(), files.MaxDownloads)
	if res, _ := w.fetch(http.MethodGet, w.sentVideo("slow")); res.status != 503 || res.header.Get("Retry-After") == "" {
		t.Errorf("one more than there may be: %d", res.status)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		w.replicas[0].stop()
	}()
	select {
	case <-stopped:
	case <-time.After(patience / 2): // they would end by themselves after more than a minute
		t.Error("downloads hold up the shutdown")
		<-stopped
	}
}
