package dispatch

import (
	"context"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// BacklogReader tells what waits in the requests stream. It asks at most every backlogFresh, however many collect, and
// only if somebody does.
//
// Safe for concurrent use.
type BacklogReader struct {
	Bus      *bus.Bus
	Subjects subjects.Subjects
	Kinds    kling.Kinds

	mu    sync.Mutex
	asked time.Time
	last  *backlog // nil while the stream can't be asked
}

const (
	backlogFresh = 10 * time.Second
	backlogTime  = time.Second // a collection waits no longer for it
)

type poolPriority struct {
	pool     kling.Pool
	priority events.Priority
}

// backlog is what waits at one time.
type backlog struct {
	waiting map[poolPriority]int64 // by pool and priority
	oldest  time.Time              // zero when nothing waits
}

func (b *backlog) age() float64 {
	if b.oldest.IsZero() {
		return 0
	}
	return telemetry.SinceSeconds(b.oldest)
}

func (r *BacklogReader) get(ctx context.Context) (*backlog, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) >= backlogFresh {
		r.last = r.read(ctx)
		r.asked = time.Now()
	}
	return r.last, r.last != nil
}

func (r *BacklogReader) read(ctx context.Context) *backlog {
	ctx, cancel := context.WithTimeout(ctx, backlogTime)
	defer cancel()
	state, err := r.Bus.StateOf(ctx, r.Subjects.RequestsStream(), r.Subjects.AllRequests())
	if err != nil {
		return nil
	}
	b := &backlog{waiting: map[poolPriority]int64{}}
	for _, pool := range r.Kinds.Pools() {
		for _, priority := range events.Priorities() {
			b.waiting[poolPriority{pool, priority}] = 0
		}
	}
	for subject, n := range state.Subjects {
		parsed, ok := r.Subjects.Parse(subject)
		kind, known := r.Kinds.Lookup(parsed.Kind)
		if ok && known {
			b.waiting[poolPriority{kind.Pool, parsed.Priority}] += int64(n)
		}
	}
	if state.Msgs > 0 {
		b.oldest = state.FirstTime
	}
	return b
}
