package dispatch

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestWorkersAreUsedAgain runs jobs one after the other, and several at a time.
func TestWorkersAreUsedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var ran atomic.Int64
		held := make(chan struct{})
		long := &Job{}
		w := newWorkers(func(j *Job) {
			if j == long {
				<-held
			}
			ran.Add(1)
		})
		for range 10 {
			w.start(&Job{})
			synctest.Wait()
		}
		if n := dismiss(w); ran.Load() != 10 || n != 1 {
			t.Errorf("%d workers for %d jobs, one after the other", n, ran.Load())
		}
		for range 3 {
			w.start(long)
			synctest.Wait()
		}
		close(held)
		synctest.Wait()
		if n := dismiss(w); ran.Load() != 13 || n != 3 {
			t.Errorf("%d workers for %d jobs, three of them at a time", n, ran.Load())
		}
		w.start(&Job{})
		w.wait()
		if ran.Load() != 14 {
			t.Errorf("%d jobs have run, want 14", ran.Load())
		}
	})
}

// dismiss ends the workers that have nothing to do, and counts them.
func dismiss(w *workers) (n int) {
	for {
		select {
		case w.jobs <- nil:
			n++
		default:
			return n
		}
	}
}
