package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// failingFor is how long something must have failed, without a success in between, before it is told. A leader failover
// takes up to 8 s, and most are over before.
const failingFor = 4 * time.Second

// health is what the bus has learned from its own work: what was tried last and failed, and since when.
//
// Safe for concurrent use.
type health struct {
	mu      sync.Mutex
	failing map[activity]*failing
	stored  time.Time // when a publish was stored last
}

// activity is what was being done, in two parts, so that nothing is put together for what goes well.
type activity struct{ doing, what string }

func (a activity) String() string { return a.doing + a.what }

type failing struct {
	since time.Time
	err   error
}

// note follows one try that began at a time.
func (h *health) note(what activity, err error, began time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		delete(h.failing, what)
		return
	}
	if h.failing == nil {
		h.failing = map[activity]*failing{}
	}
	if f := h.failing[what]; f != nil {
		f.err = err
		return
	}
	h.failing[what] = &failing{since: began, err: err}
}

// noteStored follows a publish that was stored.
func (h *health) noteStored(at time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stored = at
}

// Trouble tells what has been failing for some seconds, a line each, in alphabetical order. Nothing: all that was tried
// lately has gone well.
func (b *Bus) Trouble() []string {
	h, now := &b.health, time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	var lines []string
	for what, f := range h.failing {
		if now.Sub(f.since) >= failingFor {
			lines = append(lines, fmt.Sprintf("%s fails since %s: %v", what, f.since.UTC().Format(time.RFC3339), f.err))
		}
	}
	slices.Sort(lines)
	return lines
}

// Stored returns when this connection stored a message last; zero: not yet.
func (b *Bus) Stored() time.Time {
	b.health.mu.Lock()
	defer b.health.mu.Unlock()
	return b.health.stored
}

// notePull follows one pull from a consumer.
func (b *Bus) notePull(stream, durable string, err error) {
	b.health.note(activity{"consumer ", durable + " of stream " + stream}, err, time.Now())
}

// notePublish follows one try to publish. A refusal by a guard or a message id is a success: the stream has answered. No
// answer in time is a failure: a store whose disk is full gives none.
func (b *Bus) notePublish(subject string, ack Ack, err error, began time.Time) {
	if errors.Is(err, context.Canceled) || errors.Is(err, ErrNoTimer) || errors.Is(err, ErrFull) {
		return // a stream that is full is told as that
	}
	first, _, _ := strings.Cut(subject, ".")
	b.health.note(activity{"publishing below ", first}, err, began)
	if err == nil && ack.Stored {
		b.health.noteStored(began)
	}
}
