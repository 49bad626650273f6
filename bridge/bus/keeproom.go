package bus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrFull tells that a message was not stored: the stream refuses what is too much, or would soon have to drop its oldest.
var ErrFull = errors.New("the stream is full")

const (
	// keptFree is the share of a bounded stream that is never filled, 1 of so many. What begins something new leaves
	// twice that, so that what has begun can end.
	keptFree = 16
	// roomShare is the share of the free room, 1 of so many, that is published into before the stream is asked again:
	// other replicas publish too.
	roomShare = 8
	// fullFor is how long a full stream is taken to be full still.
	fullFor = 250 * time.Millisecond
)

// room keeps a stream with a size from getting full. The server can't: one with message schedules drops its oldest when it
// is full and can't be told to refuse ("message scheduling cannot use discard new", 10052, nats-server 2.15.2).
//
// Safe for concurrent use.
type room struct {
	stream, prefix string

	mu     sync.Mutex
	size   int64 // of the stream; zero: it has none
	free   int64 // until it is as full as it may get, when it was last asked
	budget int64 // of that, to be published before it is asked again
	asked  time.Time
}

// KeepRoom lets publishes on subjects that begin with prefix fail with [ErrFull] rather than fill the stream, from now on
// and whoever gives it a size.
func (b *Bus) KeepRoom(ctx context.Context, stream, prefix string) error {
	r := &room{stream: stream, prefix: prefix}
	if err := r.ask(ctx, b); err != nil {
		return err
	}
	b.room.Store(r)
	return nil
}

// AskRoom asks how full the stream of [Bus.KeepRoom] is now. Its error is [ErrFull], with numbers, when nothing new may
// begin.
func (b *Bus) AskRoom(ctx context.Context) error {
	r := b.room.Load()
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.ask(ctx, b); err != nil {
		return err
	}
	return r.toBegin()
}

// RoomToBegin returns an [ErrFull] when the room that is left is for what has begun already.
func (b *Bus) RoomToBegin(ctx context.Context) error {
	r := b.room.Load()
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.toBegin() == nil {
		return nil
	}
	if err := r.askAgain(ctx, b, 0); err != nil {
		return err
	}
	return r.toBegin()
}

// RoomToSpare returns an [ErrFull] when half of the room is taken: what is left is not for what can be done without.
func (b *Bus) RoomToSpare(ctx context.Context) error {
	r := b.room.Load()
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.toSpare() == nil {
		return nil
	}
	if err := r.askAgain(ctx, b, r.size/2); err != nil {
		return err
	}
	return r.toSpare()
}

// roomFor takes a message's share of the room.
func (b *Bus) roomFor(ctx context.Context, msg *nats.Msg) error {
	r := b.room.Load()
	if r == nil || !strings.HasPrefix(msg.Subject, r.prefix) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.size == 0 { // there is no bound
		return nil
	}
	const overhead = 64 // of a stored message, more or less
	n := int64(msg.Size() + overhead)
	if r.budget < n {
		if err := r.askAgain(ctx, b, 0); err != nil {
			return err
		}
		r.budget = min(max(r.free/roomShare, n), r.free)
	}
	if r.size > 0 && r.budget < n { // the bound may be gone
		return r.full()
	}
	r.budget, r.free = r.budget-n, r.free-n
	return nil
}

func (r *room) toBegin() error {
	if r.size > 0 && r.free < r.size/keptFree {
		return r.full()
	}
	return nil
}

func (r *room) toSpare() error {
	if r.size > 0 && r.free < r.size/2 {
		return r.full()
	}
	return nil
}

func (r *room) full() error {
	return fmt.Errorf("%w: %s holds %d of %d bytes (BRIDGE_STREAM_MAX_BYTES)", ErrFull, r.stream,
		r.size-r.size/keptFree-r.free, r.size)
}

// askAgain spares the server the question while the answer would be the same: that no more than least is free.
func (r *room) askAgain(ctx context.Context, b *Bus, least int64) error {
	if r.free <= least && time.Since(r.asked) < fullFor {
		return nil
	}
	return r.ask(ctx, b)
}

func (r *room) ask(ctx context.Context, b *Bus) error {
	info, err := b.streamInfo(ctx, r.stream)
	if err != nil {
		return fmt.Errorf("room in stream %s: %w", r.stream, err)
	}
	r.asked = time.Now()
	r.size = max(info.Config.MaxBytes, 0)
	r.free = r.size - r.size/keptFree - int64(info.State.Bytes)
	r.budget = max(r.free/roomShare, 0)
	return nil
}

func (b *Bus) streamInfo(ctx context.Context, stream string) (*jetstream.StreamInfo, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, err
	}
	return s.CachedInfo(), nil
}
