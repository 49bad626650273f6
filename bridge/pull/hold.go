package pull

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// Holder keeps the messages that this replica holds from being taken for lost.
//
// Safe for concurrent use.
type Holder struct {
	mu   sync.Mutex
	held map[Message]struct{}
}

// Message is a delivered message.
type Message interface{ InProgress() error }

// NewHolder holds nothing yet.
func NewHolder() *Holder { return &Holder{held: map[Message]struct{}{}} }

// Take begins to hold a message.
func (h *Holder) Take(m Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held[m] = struct{}{}
}

// Drop ends it.
func (h *Holder) Drop(m Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.held, m)
}

func (h *Holder) all() []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Collect(maps.Keys(h.held))
}

// Signal tells the server every interval that the held messages are being worked on, until ctx ends.
func (h *Holder) Signal(ctx context.Context, interval time.Duration) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			for _, m := range h.all() {
				_ = m.InProgress() // while NATS is away there is nobody to take the message over
			}
		}
	}
}
