package bus

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// clock tells the server's time. Schedules fire by the server's clock and deadlines count from the time at which it stored
// a request, while this machine's own clock may be off by any amount.
//
// Safe for concurrent use.
type clock struct {
	local func() time.Time

	mu     sync.Mutex
	offset time.Duration // of the server's clock from the local one
}

func newClock(o Options) clock {
	if o.Now == nil {
		return clock{local: time.Now}
	}
	return clock{local: o.Now}
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.local().Add(c.offset)
}

// learn takes in what time the server's clock showed at some moment between sent and received, by the local clock. What
// is known stays while it is within what this answer can tell.
func (c *clock) learn(server, sent, received time.Time) {
	const grain = time.Millisecond
	half := received.Sub(sent) / 2
	offset := server.Sub(sent.Add(half).Round(0))
	c.mu.Lock()
	defer c.mu.Unlock()
	if (offset - c.offset).Abs() > half+grain {
		c.offset = offset
	}
}

// Now returns the time by the server's clock, as far as it has been learned.
func (b *Bus) Now() time.Time { return b.clock.now() }

// ClockOffset is how far the server's clock is ahead of this machine's; negative: behind.
func (b *Bus) ClockOffset() time.Duration {
	b.clock.mu.Lock()
	defer b.clock.mu.Unlock()
	return b.clock.offset
}

// SyncClock learns the server's time from its answer to a question about a stream.
func (b *Bus) SyncClock(ctx context.Context, stream string) error {
	sent := b.clock.local()
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return fmt.Errorf("ask for the time, of stream %s: %w", stream, err)
	}
	if at := s.CachedInfo().TimeStamp; !at.IsZero() {
		b.clock.learn(at, sent, b.clock.local())
	}
	return nil
}
