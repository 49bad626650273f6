package bus_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// TestRoomIsKept has four replicas fill a stream that would drop its oldest, each with many publishers. The server can't
// be told to refuse: discard new can't go with message schedules.
func TestRoomIsKept(t *testing.T) {
	srv := bustest.Start(t)
	config := eventsConfig(system{replicas: 1})
	config.MaxBytes = 1 << 20
	if err := open(t, srv.URL()).EnsureStream(t.Context(), config, ""); err != nil {
		t.Fatal(err)
	}
	var publishers sync.WaitGroup
	for replica := range 4 {
		b := open(t, srv.URL())
		if err := b.KeepRoom(t.Context(), config.Name, "put."); err != nil {
			t.Fatal(err)
		}
		for worker := range 4 {
			publishers.Go(func() { untilFull(t, b, fmt.Sprintf("pub.%d.%d", replica, worker)) })
		}
	}
	publishers.Wait()
	b := open(t, srv.URL())
	state, err := b.State(t.Context(), config.Name)
	if err != nil || state.FirstSeq != 1 || state.Msgs != state.LastSeq {
		t.Errorf("something was dropped: %+v, %v", state, err)
	}
	if state.Bytes < uint64(config.MaxBytes)*3/4 {
		t.Errorf("%d of %d bytes are used", state.Bytes, config.MaxBytes)
	}
	if err := b.KeepRoom(t.Context(), config.Name, "put."); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"asked": b.AskRoom(t.Context()), "to begin": b.RoomToBegin(t.Context())} {
		if !errors.Is(err, bus.ErrFull) {
			t.Errorf("%s: %v, want ErrFull", what, err)
		}
	}
	config.MaxBytes = 2 << 20
	if err := b.EnsureStream(t.Context(), config, ""); err != nil {
		t.Fatal(err)
	}
	if err := b.AskRoom(t.Context()); err != nil {
		t.Errorf("there is room again: %v", err)
	}
}

// untilFull publishes until there is no room.
func untilFull(t *testing.T, b *bus.Bus, subjects string) {
	for i := range 10_000 {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		msg := message(fmt.Sprintf("%s.%d", subjects, i), "")
		msg.Data = make([]byte, 1<<10)
		_, err := b.Publish(ctx, msg)
		cancel()
		if errors.Is(err, bus.ErrFull) {
			return
		}
		if err != nil && !errors.Is(err, bus.ErrUnavailable) {
			t.Errorf("publish: %v", err)
			return
		}
	}
	t.Error("the stream never gets full")
}
