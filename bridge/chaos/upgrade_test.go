package chaos_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// TestUpgrade replaces one version of the program by another under load, while both work on the same streams, and kills
// either. All promises hold; what the newer version has put into a record stays there, and a record of a version that
// the older one does not know is not written by it.
func TestUpgrade(t *testing.T) {
	this := build(t)
	if *older != "" {
		t.Run("given", func(t *testing.T) {
			w, _ := newUpgrade(t, *older)
			w.upgrade(this, func() bool { return true })
		})
		return
	}
	t.Run("minor", func(t *testing.T) {
		t.Parallel()
		w, n := newUpgrade(t, this)
		w.upgrade(buildWith(t, asNewer(store.Version)), func() bool { return n.storedAgain(1) > 0 })
		t.Logf("the older version stored %d records of the newer one again", n.storedAgain(1))
		if lost := n.lost(); len(lost) > 0 {
			t.Errorf("the older version dropped what it did not know from %q", lost)
		}
	})
	t.Run("version", func(t *testing.T) {
		t.Parallel()
		w, n := newUpgrade(t, this)
		w.upgrade(buildWith(t, asNewer(store.Version+1)), func() bool { return w.leftToNewer() > 0 })
		t.Logf("the older version left %d things to the newer one", w.leftToNewer())
		if lost := n.lost(); len(lost) > 0 || n.storedAgain(store.Version+1) > 0 {
			t.Errorf("the older version wrote %d records that it can't understand, and %q", n.storedAgain(store.Version+1), lost)
		}
	})
}

func newUpgrade(t *testing.T, older string) (*world, *notes) {
	w := newWorld(t, setup{binary: older, natsURL: bustest.Start(t).URL(), replicas: 2, lasting: 1500 * time.Millisecond})
	return w, w.watchNotes()
}

// upgrade replaces the older version by the newer one, a replica at a time, while there is work. Most kills happen while
// one of each is there, and that goes on until they have met.
func (w *world) upgrade(newer string, met func() bool) {
	w.t.Helper()
	requests, kills := *requests/2, *kills/3
	w.ask(requests/4, "")
	w.replicas[0].replace(newer)
	w.ask(requests/4, fateLost)
	at := w.rng.IntN(len(points()))
	for i := range kills {
		w.killAt(points()[(at+i)%len(points())], share(requests/4, kills, i))
	}
	w.eventually("the versions have met", func() bool {
		if met() {
			return true
		}
		w.ask(4, fateLost)
		w.wait(time.Second)
		return false
	})
	w.ask(requests/4, fateLost)
	w.replicas[1].replace(newer)
	w.killAt(pointAnytime, 1)
	w.settle()
	w.echo()
	w.audit()
}

// leftToNewer counts what replicas have given back because they did not understand it.
func (w *world) leftToNewer() (n int) {
	for _, r := range w.replicas {
		n += r.lines("left to a newer version")
	}
	return n
}

// replace ends the process as an upgrade does and starts another program in its place.
func (r *replica) replace(binary string) {
	r.w.t.Helper()
	r.drain()
	r.binary = binary
	r.start()
	r.waitReady()
}

// drain ends the process by SIGTERM.
func (r *replica) drain() {
	r.w.t.Helper()
	r.mu.Lock()
	cmd, gone := r.cmd, r.gone
	r.ended = true
	r.mu.Unlock()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.w.t.Fatal(err)
	}
	r.w.awaitClosed("the program has drained", gone)
	if code := cmd.ProcessState.ExitCode(); code != 0 {
		r.w.t.Errorf("the program exited with %d after SIGTERM", code)
	}
}

// newerNote is a member that only the newer version puts into records, with another value each time.
const newerNote = "note_of_newer"

// edit is a change to a source file.
type edit struct{ file, old, new string }

// asNewer are changes that make a newer version of the program, whose records have the version given.
func asNewer(version int) []edit {
	oldest := 1 // of the records of the only account
	if version > store.Version {
		oldest = version
	}
	return []edit{
		{"store/codec.go", fmt.Sprintf("const Version = %d\n", store.Version), fmt.Sprintf("const Version = %d\n", version)},
		{"store/codec.go", "\t\treturn 1\n", fmt.Sprintf("\t\treturn %d\n", oldest)},
		{"store/codec.go", `case "v",`, `case "` + newerNote + `", "v",`},
		{"store/append.go", "import (\n", "import (\n\t\"crypto/rand\"\n"},
		{"store/append.go", "\to.number(\"v\", int64(r.Version))\n", "\to.number(\"v\", int64(r.Version))\n\to.text(\"" + newerNote + "\", rand.Text())\n"},
		{"store/append.go", "data, err = json.Marshal(r);", "data, err = json.Marshal(struct {\n\tNote string `json:\"" + newerNote + "\"`\n\t*Record\n}{rand.Text(), r});"},
	}
}

// buildWith makes the program from sources with changes in package bridge.
func buildWith(t *testing.T, edits []edit) string {
	t.Helper()
	dir := t.TempDir()
	sources, replaced := map[string]string{}, map[string]string{}
	for _, e := range edits {
		path, err := filepath.Abs(filepath.Join("..", e.file))
		if err != nil {
			t.Fatal(err)
		}
		if _, known := sources[path]; !known {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			sources[path], replaced[path] = string(text), filepath.Join(dir, filepath.Base(e.file))
		}
		if n := strings.Count(sources[path], e.old); n != 1 {
			t.Fatalf("%s has %q %d times, want once", e.file, e.old, n)
		}
		sources[path] = strings.Replace(sources[path], e.old, e.new, 1)
	}
	for path, text := range sources {
		write(t, replaced[path], []byte(text))
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	write(t, list, overlay)
	return build(t, "-overlay", list)
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// notes watches records for the member of the newer version.
type notes struct {
	mu      sync.Mutex
	plain   map[uint64]bool   // owners of records that were begun without it
	noted   map[uint64]bool   // and with it
	written map[string]string // by note: the first record with it
	again   map[int]int       // by version: records with the note of another one, which the older version stored again
	dropped []string          // records without the note they should have
}

func (w *world) watchNotes() *notes {
	n := &notes{plain: map[uint64]bool{}, noted: map[uint64]bool{}, written: map[string]string{}, again: map[int]int{}}
	w.subscribe(w.subjects.Put(w.subjects.AllPending()), n.see)
	return n
}

func (n *notes) storedAgain(version int) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.again[version]
}

func (n *notes) lost() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dropped)
}

// see judges a record on its way into the stream. The first of a request says whether the newer version has begun it; a
// request that both have begun, because Kling refused it or its replica died, proves nothing.
func (n *notes) see(msg *nats.Msg) {
	var rec struct {
		Version int    `json:"v"`
		State   string `json:"state"`
		Attempt int    `json:"attempt"`
		Owner   uint64 `json:"owner"`
		Note    string `json:"note_of_newer"`
	}
	if err := json.Unmarshal(msg.Data, &rec); err != nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	begun := rec.State == "creating" && rec.Attempt == 1
	switch before, known := n.written[rec.Note]; {
	case rec.Note == "" && begun:
		n.plain[rec.Owner] = true
	case rec.Note == "" && n.noted[rec.Owner] && !n.plain[rec.Owner]:
		n.dropped = append(n.dropped, string(msg.Data))
	case rec.Note == "":
	case known && before != string(msg.Data):
		n.again[rec.Version]++
	default:
		n.written[rec.Note] = string(msg.Data)
		n.noted[rec.Owner] = n.noted[rec.Owner] || begun
	}
}
