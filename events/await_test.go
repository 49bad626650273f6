package events_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

func TestAwaitFindsWhatIsStored(t *testing.T) {
	t.Parallel()
	for _, id := range []string{"order-42", "Bestellung Nr. 1"} {
		t.Run(id, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.store(b.js, events.TypeProgress, event(id, events.StatusSubmitted))
			b.store(b.js, events.TypeCompletion, event("another", events.StatusFailed))
			b.store(b.js, events.TypeCompletion, event(id, events.StatusSucceed))
			b.store(b.js, events.TypeCompletion, event("order-43", events.StatusFailed))

			ev, err := b.client.Await(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if ev.RequestID != id || ev.Status != events.StatusSucceed || len(ev.Result.Videos) != 1 {
				t.Errorf("got %+v, want the completion of %s", ev, id)
			}
			if n := b.readers(); n != 0 {
				t.Errorf("%d consumers are left", n)
			}
		})
	}
}

// TestAwaitPassesOverWhatIsNoEvent has a server's answer to a publish stored where the completion will be.
func TestAwaitPassesOverWhatIsNoEvent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	subject := b.subjects.Completion("text2video", events.StatusSucceed, "order-42")
	b.put(subject, `{"stream":"KLING_REQUESTS","seq":17}`)
	b.put(subject, `not JSON`)
	b.store(b.js, events.TypeCompletion, event("order-42", events.StatusFailed))
	ev, err := b.client.Await(t.Context(), "order-42")
	if err != nil || ev.Status != events.StatusFailed {
		t.Errorf("got %+v, %v", ev, err)
	}
}

// awaiting starts to await a request and returns when the server knows of it.
func (b *bundle) awaiting(ctx context.Context, id string) <-chan awaited {
	b.t.Helper()
	done := make(chan awaited, 1)
	go func() {
		ev, err := b.client.Await(ctx, id)
		done <- awaited{ev, err}
	}()
	b.eventually("somebody waits", func() bool { return b.waiting() > 0 })
	return done
}

type awaited struct {
	event events.Event
	err   error
}

func TestAwaitWaits(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*bundle){
		"undisturbed":              func(*bundle) {},
		"over a restart":           func(b *bundle) { b.restart() },
		"over a lost consumer":     func(b *bundle) { b.deleteReaders() },
		"over a broken connection": func(b *bundle) { b.forceReconnect() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			_, publisher := b.connect()
			done := b.awaiting(t.Context(), "order-42")
			disturb(b)
			b.eventually("the completion is stored", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
				defer cancel()
				ev := event("order-42", events.StatusRejected)
				return storeEvent(ctx, publisher, b.subjects, events.TypeCompletion, ev) == nil
			})
			got := <-done
			if got.err != nil {
				t.Fatal(got.err)
			}
			if got.event.Status != events.StatusRejected || got.event.Error.Code != 1201 {
				t.Errorf("got %+v, want the completion", got.event)
			}
		})
	}
}

func (b *bundle) forceReconnect() {
	b.t.Helper()
	if err := b.nc.ForceReconnect(); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bundle) deleteReaders() {
	b.t.Helper()
	stream, err := b.js.Stream(b.t.Context(), b.subjects.EventsStream())
	if err != nil {
		b.t.Fatal(err)
	}
	for name := range stream.ConsumerNames(b.t.Context()).Name() {
		if err := stream.DeleteConsumer(b.t.Context(), name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			b.t.Fatal(err)
		}
	}
}

func TestAwaitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for name, disturb := range map[string]func(*bundle){
		"connected": func(*bundle) {},
		"while the server is away": func(b *bundle) {
			b.server.stop()
			b.eventually("the client knows", func() bool { return !b.nc.IsConnected() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx, cancel := context.WithCancelCause(t.Context())
			done := b.awaiting(ctx, "order-42")
			disturb(b)
			enough := errors.New("enough")
			cancel(enough)
			select {
			case got := <-done:
				if !errors.Is(got.err, enough) {
					t.Errorf("got %v, want the cause", got.err)
				}
			case <-time.After(3 * time.Second): // a call to JetStream takes up to 5
				t.Error("Await is held up by the server")
			}
		})
	}
}

func TestAwaitTellsOfAClosedConnection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	done := b.awaiting(t.Context(), "order-42")
	b.nc.Close()
	if got := <-done; !errors.Is(got.err, nats.ErrConnectionClosed) {
		t.Errorf("got %v, want ErrConnectionClosed", got.err)
	}
}

func TestAwaitRefusesWhatIsNoID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.client.Await(t.Context(), ""); err == nil {
		t.Error("an empty id is no error")
	}
}
