package chaos_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// files serves the simulated Kling's files, and stops in the middle of one when it is told to.
type files struct {
	*httptest.Server
	mu      sync.Mutex
	sim     http.Handler
	stopAt  int           // the file that is not served to its end, counted from now; 0: none
	stopped chan struct{} // closed when that is so
	gone    chan struct{} // closed when whoever fetched it has gone
	sums    map[string]string
}

func newFiles(t *testing.T) *files {
	t.Helper()
	f := &files{sums: map[string]string{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *files) serve(sim http.Handler) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sim = sim
}

// stop arranges for the n-th file from now to stop in the middle.
func (f *files) stop(n int) (stopped, gone <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stopAt, f.stopped, f.gone = n, make(chan struct{}), make(chan struct{})
	return f.stopped, f.gone
}

func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := httptest.NewRecorder()
	f.mu.Lock()
	sim, last := f.sim, f.stopAt == 1
	f.stopAt = max(f.stopAt-1, 0)
	stopped, gone := f.stopped, f.gone
	f.mu.Unlock()
	sim.ServeHTTP(answer, r)
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	content := answer.Body.Bytes()
	if !last {
		sum := sha256.Sum256(content)
		f.mu.Lock()
		f.sums[f.URL+r.RequestURI] = hex.EncodeToString(sum[:])
		f.mu.Unlock()
		w.WriteHeader(answer.Code)
		_, _ = w.Write(content) // whoever asked may have been killed
		return
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(content[:len(content)/2])
	_ = http.NewResponseController(w).Flush()
	close(stopped)
	<-r.Context().Done()
	close(gone)
}

// sum is the hash of what was served at a URL.
func (f *files) sum(raw string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	u, err := url.Parse(raw)
	if err != nil {
		return err.Error()
	}
	return f.sums[f.URL+u.RequestURI()]
}

// killWhileArchiving ends n tasks at once and kills the program, as often as it is told, while it fetches a file.
func (w *world) killWhileArchiving(f *files, n, kills int) {
	w.t.Helper()
	for range n {
		a := w.newRequest(fatePlain)
		w.publish(a.testRequest, "")
		w.asked[events.Token(a.ID)] = a
		w.order = append(w.order, a)
	}
	w.eventually("every request is a task", func() bool {
		return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
	})
	next := func() int { return 1 + w.rng.IntN(max(n/(2*kills), 1)) }
	stopped, gone := f.stop(next())
	for _, task := range w.sim.Tasks() {
		if err := w.sim.Finish(task.ID); err != nil {
			w.t.Fatal(err)
		}
	}
	victim := w.replicas[0]
	for left := kills - 1; left >= 0; left-- {
		w.awaitClosed("a file is fetched", stopped)
		victim.kill()
		w.awaitClosed("the program has left", gone)
		if left > 0 {
			stopped, gone = f.stop(next())
		}
		victim.start()
		victim.waitReady()
	}
}

func (w *world) awaitClosed(what string, c <-chan struct{}) {
	w.t.Helper()
	w.eventually(what, func() bool { return closed(c) })
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// auditArchive waits until every result is archived and compares the events, the files and what was served.
func (w *world) auditArchive(f *files, dir string) {
	w.t.Helper()
	filter := w.subjects.Archived("*", "*", "*")
	w.eventually("every result is archived", func() bool {
		return w.count(w.subjects.EventsStream(), filter) >= len(w.asked)
	})
	var inEvents []string
	var msgs []*bus.Message
	err := w.bus.Scan(w.ctx, w.subjects.EventsStream(), filter, 1, len(w.asked), func(m *bus.Message) bool {
		msgs = append(msgs, m)
		return true
	})
	if err != nil || len(msgs) != len(w.asked) {
		w.t.Errorf("%d archived events, want %d: %v", len(msgs), len(w.asked), err)
	}
	for _, m := range msgs {
		eventstest.Check(w.t, m.Subject, m.Header, m.Data)
		var body events.Archived
		if err := json.Unmarshal(m.Data, &body); err != nil {
			w.t.Fatal(err)
		}
		if p, _ := w.subjects.Parse(m.Subject); p.Status != events.StatusSucceed || len(body.Files) == 0 {
			w.t.Errorf("%s: %s", m.Subject, m.Data)
		}
		for _, file := range body.Files {
			path := strings.TrimPrefix(file.ArchiveURL, "file://")
			inEvents = append(inEvents, path)
			w.compare(f, file, path)
		}
	}
	slices.Sort(inEvents)
	if onDisk := filesBelow(w.t, dir); !slices.Equal(onDisk, inEvents) {
		w.t.Errorf("%d files are in the archive, %d in the events:\n%q\n%q", len(onDisk), len(inEvents), onDisk, inEvents)
	}
	w.t.Logf("%d files of %d results archived", len(inEvents), len(w.asked))
}

// compare holds a file to what was served.
func (w *world) compare(f *files, file events.ArchivedFile, path string) {
	w.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		w.t.Error(err)
		return
	}
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); got != file.SHA256 || got != f.sum(file.SourceURL) || int64(len(data)) != file.Bytes {
		w.t.Errorf("%s has the hash %s and %d bytes, want that of %+v", path, got, len(data), file)
	}
}

func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
