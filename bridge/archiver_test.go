package bridge_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// archiveOptions lets the files of the simulated Kling be fetched, wherever they are served.
func (w *world) archiveOptions(s setup) archive.Options {
	w.t.Helper()
	target, err := archive.ParseTarget(s.archive)
	if err != nil {
		w.t.Fatal(err)
	}
	o := s.bridge.Archive
	o.Target = target
	for _, raw := range []string{w.sim.URL, s.sim.PublicURL} {
		if u, err := url.Parse(raw); err == nil && u.Host != "" {
			o.Allow = append(o.Allow, u.Host)
		}
	}
	return o
}

// archived waits for the archived event of a request.
func (w *world) archived(id string) (events.Status, events.Archived) {
	w.t.Helper()
	s := subjects.Default()
	filter := s.ArchivedOf(events.Token(id))
	w.eventually("the result of "+id+" is archived", func() bool { return w.count(s.EventsStream(), filter) > 0 })
	msgs := w.stored(s.EventsStream(), filter)
	if len(msgs) != 1 {
		w.t.Fatalf("%d archived events of %s", len(msgs), id)
	}
	var body events.Archived
	if err := json.Unmarshal(msgs[0].Data, &body); err != nil {
		w.t.Fatal(err)
	}
	p, _ := s.Parse(msgs[0].Subject)
	for name, want := range map[string]string{
		"Nats-Msg-Id": p.Token + ".archived", "Content-Type": "application/json", "Kling-Request-Id": id,
		"Kling-Status": string(p.Status), "Kling-Source": "bridge", "ce-id": p.Token + ".archived",
		"ce-type": "ai.kling.archived." + string(p.Status), "ce-datacontenttype": "application/json", "ce-dataschema": events.ArchivedSchemaURL,
	} {
		if got := msgs[0].Header.Get(name); got != want {
			w.t.Errorf("%s: header %s is %q, want %q", id, name, got, want)
		}
	}
	return p.Status, body
}

// resultURLs are all the URLs of a result, in order.
func resultURLs(r *events.Result) []string {
	var urls []string
	for _, v := range r.Videos {
		urls = append(urls, v.URL, v.WatermarkURL)
	}
	for _, i := range r.Images {
		urls = append(urls, i.URL, i.WatermarkURL)
	}
	for _, a := range r.Audios {
		urls = append(urls, a.URLMP3, a.URLWAV)
	}
	for _, f := range r.Files {
		urls = append(urls, f.URL)
	}
	var given []string
	for _, u := range urls {
		if u != "" {
			given = append(given, u)
		}
	}
	return given
}

var archiveName = regexp.MustCompile(`/([a-z0-9-]+)/\d{4}-\d{2}-\d{2}/([A-Za-z0-9_-]+)/(\d+)\.(mp4|png|mp3|wav)$`)

// TestArchiveEveryStore archives results of every sort to every kind of archive and compares each file with its source.
func TestArchiveEveryStore(t *testing.T) {
	for name, p := range places(t) {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{archive: p.url})
			requests := []testRequest{
				{Kind: "text2video", ID: "watermarked", Body: body(map[string]any{
					"prompt": "a", "watermark_info": map[string]any{"enabled": true},
				})},
				{Kind: "image-generations", ID: "three images", Body: body(map[string]any{"prompt": "a", "n": 3})},
				{Kind: "text-to-audio", ID: "mp3-and-wav", Body: body(map[string]any{"prompt": "a", "duration": 5})},
				{Kind: "text-to-video", ID: "../../../etc/passwd", Body: body(map[string]any{"prompt": "a", "model": "kling-3.0"})},
				{Kind: "custom-voices", ID: "no-files", Body: body(map[string]any{"voice_name": "a", "voice_url": "https://example.com/a.mp3"})},
			}
			total := 0
			for _, r := range requests {
				w.request(r)
			}
			for i, want := range []int{2, 3, 2, 1, 0} {
				total += want
				w.checkArchived(requests[i], want, p)
			}
			if names := p.list(w); len(names) != total {
				t.Errorf("%d files in the archive, want %d: %q", len(names), total, names)
			}
			w.settledDown()
		})
	}
}

// checkArchived compares what was archived of a request with what its completion says.
func (w *world) checkArchived(r testRequest, files int, p place) {
	w.t.Helper()
	ev := w.await(r.ID)
	status, got := w.archived(r.ID)
	if status != events.StatusSucceed || got.RequestID != r.ID || got.Kind != r.Kind || len(got.Files) != files {
		w.t.Errorf("%s: %s, %+v", r.ID, status, got)
	}
	var sources []string
	for i, f := range got.Files {
		sources = append(sources, f.SourceURL)
		_, source := get(w.t, f.SourceURL)
		stored := p.read(w, f.ArchiveURL)
		sum := sha256.Sum256([]byte(source))
		if !bytes.Equal(stored, []byte(source)) || f.Bytes != int64(len(source)) || f.SHA256 != hex.EncodeToString(sum[:]) {
			w.t.Errorf("%s: %+v is not the source's %d bytes", r.ID, f, len(source))
		}
		m := archiveName.FindStringSubmatch(f.ArchiveURL)
		if m == nil || m[1] != r.Kind || m[2] != events.Token(r.ID) || m[3] != fmt.Sprint(i+1) {
			w.t.Errorf("%s: archived as %s", r.ID, f.ArchiveURL)
		}
	}
	if diff := cmp.Diff(resultURLs(ev.Result), sources); diff != "" {
		w.t.Errorf("%s: sources (-want +got):\n%s", r.ID, diff)
	}
}

// front serves the simulated Kling's files, some of them badly at first.
type front struct {
	*httptest.Server
	mu    sync.Mutex
	sim   http.Handler
	spoil func(path string, n int, w http.ResponseWriter, r *http.Request) bool // the n-th request of a path
	seen  map[string]int
}

func newFront(t *testing.T, spoil func(path string, n int, w http.ResponseWriter, r *http.Request) bool) *front {
	t.Helper()
	f := &front{spoil: spoil, seen: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.seen[r.URL.Path]++
	n, sim := f.seen[r.URL.Path], f.sim
	f.mu.Unlock()
	if !f.spoil(r.URL.Path, n, w, r) {
		sim.ServeHTTP(w, r)
	}
}

func (f *front) serve(sim http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sim = sim
}

// TestArchiveTriesAgain has one of three files missing at first, another cut off, and a page in place of the third.
func TestArchiveTriesAgain(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var order []string // of paths
	f := newFront(t, func(path string, n int, w http.ResponseWriter, _ *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if n == 1 {
			order = append(order, path)
		}
		switch {
		case n == 1 && path == order[0]:
			http.NotFound(w, nil)
		case n == 1 && len(order) == 2:
			w.Header().Set("Content-Length", "1000")
			_, _ = w.Write([]byte("\x89PNG\x0d\x0a\x1a\x0a cut off"))
		case n == 1 && len(order) == 3:
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte("<html><title>Forbidden</title></html>"))
		default:
			return false
		}
		return true
	})
	dir := t.TempDir()
	w := start(t, setup{archive: "file://" + dir, sim: klingtest.Options{PublicURL: f.URL}})
	f.serve(w.sim)
	w.request(testRequest{Kind: "image-generations", ID: "order-1", Body: body(map[string]any{"prompt": "a", "n": 3})})
	status, got := w.archived("order-1")
	if status != events.StatusSucceed || len(got.Files) != 3 {
		t.Errorf("%s, %+v", status, got)
	}
	if names := filesBelow(t, dir); len(names) != 3 {
		t.Errorf("files %q", names)
	}
	mu.Lock()
	defer mu.Unlock()
	for i, path := range order {
		if want := 2; f.seen[path] != want {
			t.Errorf("file %d was fetched %d times, want %d", i+1, f.seen[path], want)
		}
	}
}

// TestArchiveExpired gives up on a file that never comes when its URL expires, and tells what it has.
func TestArchiveExpired(t *testing.T) {
	t.Parallel()
	const life = 30 * 24 * time.Hour
	for name, test := range map[string]struct {
		left   time.Duration // of the URLs' life when the task ends
		files  int
		reason string
	}{
		"while it is tried": {3 * time.Second, 1, "file 2"},
		"before":            {-time.Hour, 0, "file 1 was not copied in time; file 2 was not copied in time"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFront(t, func(path string, _ int, w http.ResponseWriter, _ *http.Request) bool {
				missing := strings.Contains(path, "_watermark")
				if missing {
					http.NotFound(w, nil)
				}
				return missing
			})
			then := func() time.Time { return time.Now().Add(test.left - life) }
			w := start(t, setup{archive: "file://" + t.TempDir(), sim: klingtest.Options{PublicURL: f.URL, Now: then}})
			f.serve(w.sim)
			w.request(testRequest{Kind: "text2video", ID: "order-1", Body: body(map[string]any{
				"prompt": "a", "watermark_info": map[string]any{"enabled": true},
			})})
			status, got := w.archived("order-1")
			if status != events.StatusFailed || len(got.Files) != test.files || !strings.Contains(got.Error, test.reason) {
				t.Errorf("%s, %+v", status, got)
			}
			if test.files > 0 && time.Now().Before(w.await("order-1").Result.ExpiresAt.Time) {
				t.Error("it was given up while its URL lived")
			}
		})
	}
}

// TestArchiveLate archives what Kling delivers after the deadline: it was paid for.
func TestArchiveLate(t *testing.T) {
	t.Parallel()
	w := start(t, setup{archive: "file://" + t.TempDir(), sim: klingtest.Options{Duration: time.Hour}})
	w.request(testRequest{
		Kind: "text2video", ID: "late", Timeout: 500 * time.Millisecond, Body: body(map[string]any{"prompt": "a"}),
	})
	ev := w.await("late")
	if ev.Status != events.StatusExpired {
		t.Fatalf("got %+v", ev)
	}
	if err := w.sim.Finish(ev.TaskID); err != nil {
		t.Fatal(err)
	}
	if status, got := w.archived("late"); status != events.StatusSucceed || len(got.Files) != 1 {
		t.Errorf("%s, %+v", status, got)
	}
}

// TestArchiveIsShared has three replicas, of which one goes in the middle.
func TestArchiveIsShared(t *testing.T) {
	t.Parallel()
	const requests = 40
	dir := t.TempDir()
	w := start(t, setup{ // by polls: callbacks to the replica that goes would be lost with it
		archive: "file://" + dir, replicas: 3, pollOnly: true, bridge: bridge.Options{PollMinInterval: 100 * time.Millisecond},
	})
	for i := range requests {
		w.submit(fmt.Sprintf("order-%d", i), "a")
	}
	s := subjects.Default()
	archived := func() uint64 { return w.count(s.EventsStream(), s.Archived("*", "*", "*")) }
	w.eventually("something is archived", func() bool { return archived() > 0 })
	w.replicas[0].stop()
	w.eventually("everything is archived", func() bool { return archived() == requests })
	if names := filesBelow(t, dir); len(names) != requests {
		t.Errorf("%d files", len(names))
	}
}

// TestArchiveBeginsWhenSwitchedOn leaves alone what succeeded before, and catches up with what did while it was off.
func TestArchiveBeginsWhenSwitchedOn(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	off := setup{}
	on := setup{archive: "file://" + t.TempDir()}
	change := func(to setup) {
		w.replicas[0].stop()
		w.replicas[0] = w.startBridge(to)
	}
	w.await(w.submit("history", "a"))
	change(on)
	w.await(w.submit("first", "a"))
	w.archived("first")
	change(off)
	w.await(w.submit("meanwhile", "a"))
	change(on)
	w.archived("meanwhile")
	s := subjects.Default()
	if n := w.count(s.EventsStream(), s.Archived("*", "*", "*")); n != 2 {
		t.Errorf("%d archived events, want 2", n)
	}
}

// TestArchiveRefused has a result whose URLs lead where nothing may be fetched.
func TestArchiveRefused(t *testing.T) {
	t.Parallel()
	var inside int
	internal := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { inside++ }))
	defer internal.Close()
	f := newFront(t, func(_ string, _ int, w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, internal.URL, http.StatusFound)
		return true
	})
	sim := silent()
	sim.PublicURL = f.URL
	w := start(t, setup{archive: "file://" + t.TempDir(), sim: sim})
	redirected := w.task("text2video", "redirected")
	w.post(redirected.CallbackURL, result(redirected, f.URL+"/files/1.mp4"))
	forged := w.task("text2video", "forged")
	w.post(forged.CallbackURL, result(forged, strings.Replace(internal.URL, "http://127.0.0.1", "https://[::ffff:127.0.0.1]", 1),
		internal.URL, "https://169.254.169.254/latest/meta-data"))
	for id, reason := range map[string]string{"redirected": "redirects are not followed", "forged": "address 169.254.169.254 is not public"} {
		status, got := w.archived(id)
		if status != events.StatusFailed || len(got.Files) != 0 || !strings.Contains(got.Error, reason) {
			t.Errorf("%s: %s, %+v", id, status, got)
		}
	}
	if inside > 0 {
		t.Errorf("%d requests got inside", inside)
	}
}

// result is a callback with videos at these URLs.
func result(task klingtest.TaskView, urls ...string) string {
	var videos []map[string]any
	for i, u := range urls {
		videos = append(videos, map[string]any{"id": fmt.Sprint(i), "url": u})
	}
	return string(body(map[string]any{
		"task_id": task.ID, "task_status": "succeed", "task_result": map[string]any{"videos": videos},
	}))
}
