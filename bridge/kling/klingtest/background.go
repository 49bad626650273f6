package klingtest

import (
	"sync"
	"time"
)

// background runs functions until it is closed, and waits for them then. Timers are the runtime's own, which keeps them
// in a heap: a waiting task costs no goroutine.
type background struct {
	mu      sync.Mutex // guards closed and pending, and that nothing is added to running once closed
	closed  bool
	pending map[*time.Timer]struct{}
	running sync.WaitGroup // what was started and what pends
}

// run calls f in a goroutine of its own, or not at all once closed.
func (b *background) run(f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.running.Go(f)
	}
}

// after calls f in d from now, or not at all once closed.
func (b *background) after(d time.Duration, f func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return
	}
	b.running.Add(1)
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		defer b.running.Done()
		b.mu.Lock()
		delete(b.pending, timer)
		b.mu.Unlock()
		f()
	})
	b.pending[timer] = struct{}{}
}

// close drops what pends and waits for what runs.
func (b *background) close() {
	b.mu.Lock()
	b.closed = true
	for timer := range b.pending {
		if timer.Stop() {
			b.running.Done()
		}
	}
	clear(b.pending)
	b.mu.Unlock()
	b.running.Wait()
}
