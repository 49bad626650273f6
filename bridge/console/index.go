package console

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// index finds requests by what Kling calls them: the stream itself knows them by their token only. It holds 16 bytes for
// each id, is read from the headers of events while a page is open or when somebody searches, and reads on from there.
type index struct {
	bus      *bus.Bus
	subjects subjects.Subjects
	seed     maphash.Seed

	mu     sync.Mutex
	seqs   map[uint64]uint64 // by the hash of a task id or external task id: an event of that task
	last   uint64            // sequence up to which the stream was read
	keptAt time.Time         // when it was last found complete
	usedAt time.Time
}

func newIndex(b *bus.Bus, s subjects.Subjects) *index {
	return &index{bus: b, subjects: s, seed: maphash.MakeSeed(), seqs: map[uint64]uint64{}}
}

// coverage tells how much of the stream a search has seen.
type coverage struct {
	Read uint64 `json:"read"` // sequences
	Of   uint64 `json:"of"`
}

func (c coverage) complete() bool { return c.Read >= c.Of }

// find returns the request token of the task that Kling knows by this id, or "". Where ctx ends before the whole stream
// was read, the coverage says how far it came, and the next search goes on from there.
func (x *index) find(ctx context.Context, id string) (token string, c coverage, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.usedAt = time.Now()
	if c, err = x.readOn(ctx); err != nil {
		return "", c, err
	}
	key := maphash.String(x.seed, id)
	seq, ok := x.seqs[key]
	if !ok {
		return "", c, nil
	}
	m, err := x.bus.Next(context.WithoutCancel(ctx), x.subjects.EventsStream(), x.subjects.Public(), seq)
	if err != nil && !errors.Is(err, bus.ErrNoMessage) {
		return "", c, err
	}
	if err != nil || m.Seq != seq || m.Header.Get(events.HeaderTaskID) != id && m.Header.Get(events.HeaderExternalTaskID) != id {
		delete(x.seqs, key) // it has aged out of the stream
		return "", c, nil
	}
	parsed, _ := x.subjects.Parse(m.Subject)
	return parsed.Token, c, nil
}

const (
	keepUpInterval = 30 * time.Second
	keepUpTime     = 300 * time.Millisecond
)

// keepUp reads on for a moment, so that a search has little left to read. Once the index is complete it does so only now
// and then.
func (x *index) keepUp(ctx context.Context, now time.Time) error {
	if !x.mu.TryLock() { // a search is reading
		return nil
	}
	defer x.mu.Unlock()
	x.usedAt = now
	if now.Sub(x.keptAt) < keepUpInterval {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, keepUpTime)
	defer cancel()
	c, err := x.readOn(ctx)
	if c.complete() && err == nil {
		x.keptAt = now
	}
	return err
}

// readOn reads what was stored since the last search.
func (x *index) readOn(ctx context.Context) (coverage, error) {
	state, err := x.bus.State(ctx, x.subjects.EventsStream())
	if err != nil {
		return coverage{}, err
	}
	if state.LastSeq < x.last { // the stream was made anew
		x.forget()
	}
	c := coverage{Read: x.last, Of: state.LastSeq}
	if c.complete() {
		return c, nil
	}
	selection := bus.Selection{
		Subjects: []string{
			x.subjects.Progress("*", events.StatusSubmitted, "*"), x.subjects.AllCompletions(),
		},
		From: x.last + 1, HeadersOnly: true,
	}
	err = x.bus.ReadThrough(ctx, x.subjects.EventsStream(), selection, x.add)
	switch {
	case err == nil:
		x.last = max(x.last, state.LastSeq)
	case !errors.Is(err, context.DeadlineExceeded):
		return c, fmt.Errorf("index of task ids: %w", err)
	}
	c.Read = x.last
	return c, nil
}

func (x *index) add(m *bus.Message) {
	for _, name := range []string{events.HeaderTaskID, events.HeaderExternalTaskID} {
		if id := m.Header.Get(name); id != "" {
			x.seqs[maphash.String(x.seed, id)] = m.Seq
		}
	}
	x.last = m.Seq
}

func (x *index) forget() { x.seqs, x.last, x.keptAt = map[uint64]uint64{}, 0, time.Time{} }

// dropIdle frees the memory of an index that nobody has used for a while.
func (x *index) dropIdle(now time.Time, idle time.Duration) {
	if !x.mu.TryLock() { // it is being used
		return
	}
	defer x.mu.Unlock()
	if len(x.seqs) > 0 && now.Sub(x.usedAt) > idle {
		x.forget()
	}
}
