package chaos_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"syscall"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

const (
	// upload is more than the system takes from the program before Kling reads it, in bytes of an image.
	upload = 8 << 20
	// uploaded is the part of it that has arrived when a replica stands still.
	uploaded = 64 << 10
	// takeover is after how long another replica takes a request over from one that says nothing.
	takeover = 20 * time.Second
)

// stopInUploads makes a replica stand still in the middle of a send, while another one takes its requests over, and go on,
// as often as it is told. The send has to be broken off: Kling would make a second task of one that comes too late.
func (w *world) stopInUploads(burst, stops int, length time.Duration) {
	w.t.Helper()
	ref, err := w.client().Attach(w.ctx, events.Attachment{Name: "first.png"}, bytes.NewReader(make([]byte, upload)))
	if err != nil {
		w.t.Fatal(err)
	}
	for range stops {
		sprung := w.trap.set(pointUpload, 1, func() {
			w.phone.spare(w.uploading)
			w.uploading.signal(syscall.SIGSTOP)
		})
		w.askWithImage(ref)
		w.awaitClosed("a replica stands still", sprung)
		victim := w.uploading
		w.ask(burst, fatePlain)
		w.wait(length)
		victim.signal(syscall.SIGCONT)
		w.eventually("every upload has ended", func() bool { return w.uploads.Load() == 0 })
		w.eventually("every request is a task", func() bool {
			return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
		})
	}
	w.phone.spare(nil)
	w.finishAll()
	fenced := 0
	for _, r := range w.replicas {
		fenced += r.lines("this replica stood still for")
	}
	// A replica whose request was taken over meanwhile says nothing of its send. That no second task was made is judged in any case.
	if length < takeover && fenced < stops {
		w.t.Errorf("%d sends were broken off by replicas that had stood still %d times", fenced, stops)
	}
}

// askWithImage asks for a video of a stored image.
func (w *world) askWithImage(ref string) {
	w.t.Helper()
	a := w.newRequest(fatePlain)
	a.Kind = "image2video"
	var err error
	if a.Body, err = json.Marshal(map[string]string{"prompt": prompt(a.ID, a.fate), "image": ref}); err != nil {
		w.t.Fatal(err)
	}
	w.publish(a.testRequest, "")
	w.asked[events.Token(a.ID)] = a
	w.order = append(w.order, a)
}

// uplink is Kling behind a replica's line, on which an upload takes its time: there is a moment when a part has arrived.
func (r *replica) uplink(rw http.ResponseWriter, req *http.Request) {
	w := r.w
	if req.ContentLength > upload {
		w.uploads.Add(1)
		defer w.uploads.Add(-1)
		var part bytes.Buffer
		_, _ = io.CopyN(&part, req.Body, uploaded) // what is cut short is found out by Kling
		w.trap.passAs(pointUpload, func() { w.uploading = r })
		req.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(&part, req.Body), req.Body}
	}
	if len(w.router) > 0 {
		w.router.ServeHTTP(rw, req)
		return
	}
	w.sim.ServeHTTP(rw, req)
}

// finishAll ends every task that has not ended.
func (w *world) finishAll() {
	w.t.Helper()
	for _, task := range w.sim.Tasks() {
		if task.Ended() {
			continue
		}
		if err := w.sim.Finish(task.ID); err != nil {
			w.t.Fatal(err)
		}
	}
}

// signal sends the process a signal.
func (r *replica) signal(s syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.w.t.Errorf("signal %s: %v", s, err)
	}
}
