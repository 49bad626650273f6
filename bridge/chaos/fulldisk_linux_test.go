package chaos_test

import (
	"io/fs"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestFullDisk lets the writes of the embedded server's store fail, as on a disk that is full: no file of the program's may
// grow beyond what the store's largest has. The server takes nothing then until it is started anew, also with room again
// (recorded 2026-09). The program says that it is not ready, and when there is room goes on by itself.
func TestFullDisk(t *testing.T) {
	w := newWorld(t, setup{binary: build(t), replicas: 1, byHand: true})
	program := w.replicas[0]
	w.askForVideos(*burst / 4)
	w.eventually("every request is a task", func() bool {
		return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
	})
	program.limitFiles(program.largestBlock(w.subjects.EventsStream()))
	began := time.Now()
	w.finishAll()
	w.eventually("it says that nothing can be stored", func() bool {
		status, reasons := program.readiness()
		return status == http.StatusServiceUnavailable && strings.Contains(reasons, "publishing below")
	})
	t.Logf("not ready %s after the disk was full", time.Since(began))
	w.eventually("a callback was refused", func() bool { return statuses(w.phone.answered())[http.StatusServiceUnavailable] > 0 })
	program.limitFiles(unix.RLIM_INFINITY)
	began = time.Now()
	program.waitReady()
	t.Logf("ready %s after there was room", time.Since(began))
	w.askForVideos(*burst / 4)
	w.eventually("every request is a task", func() bool {
		w.finishAll()
		return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
	})
	w.finishAll()
	w.settle()
	w.audit()
}

// limitFiles bounds how large a file the process that runs now may write, in bytes. What goes beyond fails as too large.
func (r *replica) limitFiles(bytes uint64) {
	r.w.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	limit := unix.Rlimit{Cur: bytes, Max: unix.RLIM_INFINITY}
	if err := unix.Prlimit(r.cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil {
		r.w.t.Fatalf("limit the size of files to %d bytes: %v", bytes, err)
	}
}

// largestBlock is the size of the largest file with messages of a stream, in bytes.
func (r *replica) largestBlock(stream string) (largest uint64) {
	r.w.t.Helper()
	err := filepath.WalkDir(r.dataDir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".blk" || !strings.Contains(path, stream) {
			return nil // of a file that has just gone
		}
		if info, err := entry.Info(); err == nil {
			largest = max(largest, uint64(info.Size()))
		}
		return nil
	})
	if err != nil || largest == 0 {
		r.w.t.Fatalf("blocks of %s: %d bytes, %v", stream, largest, err)
	}
	return largest
}
