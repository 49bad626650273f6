package chaos_test

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/klingbridge/klingbridge/events"
)

// setBack puts the store back to what it was before some tasks were made and others ended: a copy is made after a kill -9,
// and takes the store's place after another one. Kling would make a second task of whatever is then sent again.
func (w *world) setBack(slots int) {
	w.t.Helper()
	requests := 4 * slots
	w.askForVideos(requests)
	w.eventually("Kling is full", func() bool { return len(w.sim.Tasks()) == slots })
	program, before := w.replicas[0], filepath.Join(w.t.TempDir(), "before")
	program.kill()
	w.copyStore(before, program.dataDir)
	program.start()
	for full := 2; full <= 3; full++ {
		w.finishAll()
		w.eventually("others have become tasks", func() bool { return len(w.sim.Tasks()) == full*slots })
	}

	program.kill()
	w.setBacks.Add(1)
	w.copyStore(program.dataDir, before)
	w.mu.Lock()
	clear(w.seen) // what is lost is published again
	w.mu.Unlock()
	program.start()
	program.waitReady()
	w.eventually("every request has ended", func() bool {
		w.finishAll()
		return w.count(w.subjects.EventsStream(), w.subjects.AllCompletions()) == requests
	})
}

// askForVideos makes n requests that nothing befalls.
func (w *world) askForVideos(n int) {
	w.t.Helper()
	for range n {
		w.askForVideo()
	}
}

// askForVideo makes one of them.
func (w *world) askForVideo() {
	w.t.Helper()
	a := w.newRequest(fatePlain)
	a.Kind = "text2video"
	var err error
	if a.Body, err = json.Marshal(map[string]string{"prompt": prompt(a.ID, a.fate)}); err != nil {
		w.t.Fatal(err)
	}
	w.publish(a.testRequest, "")
	w.asked[events.Token(a.ID)] = a
	w.order = append(w.order, a)
}

// copyStore puts a copy of a directory in the place of another.
func (w *world) copyStore(to, from string) {
	w.t.Helper()
	if err := os.RemoveAll(to); err != nil {
		w.t.Fatal(err)
	}
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		w.t.Fatal(err)
	}
}
