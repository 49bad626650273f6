package callback

import (
	"context"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// lasting is the context in which a callback is settled. It has the values of its request, goes on when the caller hangs up,
// and ends at a time or when it is stopped. That is what context.WithTimeout of context.WithoutCancel is, but for its timer,
// which runs only where somebody waits for the end.
//
// Safe for concurrent use.
type lasting struct {
	context.Context // for its values
	until           time.Time

	mu    sync.Mutex
	done  chan struct{} // nil: nobody has asked
	timer *time.Timer   // runs while somebody waits
	ended error
}

// last returns a context that ends after that time. Whoever has it stops it.
func last(ctx context.Context, d time.Duration) *lasting {
	return &lasting{Context: ctx, until: time.Now().Add(d)}
}

// Value implements [context.Context].
func (l *lasting) Value(key any) any {
	if key == (bus.AtDeadline{}) {
		return true
	}
	return l.Context.Value(key)
}

// Deadline implements [context.Context].
func (l *lasting) Deadline() (time.Time, bool) { return l.until, true }

// Done implements [context.Context].
func (l *lasting) Done() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done != nil {
		return l.done
	}
	l.done = make(chan struct{})
	if l.ended != nil {
		close(l.done)
	} else {
		l.timer = time.AfterFunc(time.Until(l.until), func() { l.end(context.DeadlineExceeded) })
	}
	return l.done
}

// Err implements [context.Context].
func (l *lasting) Err() error {
	if !time.Now().Before(l.until) {
		l.end(context.DeadlineExceeded)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ended
}

// stop ends it, if it has not ended.
func (l *lasting) stop() { l.end(context.Canceled) }

func (l *lasting) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended != nil {
		return
	}
	l.ended = why
	if l.done != nil {
		l.timer.Stop()
		close(l.done)
	}
}
