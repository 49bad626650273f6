package events_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// TestHandleTriesWhenItIsTold has a handler say when to try again, more often than it may fail otherwise.
func TestHandleTriesWhenItIsTold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tries := make(chan int, 10)
	how := events.Handling{Tries: 1, SetAside: func(_ context.Context, m events.Message, why error) error {
		t.Errorf("%s is set aside: %v", m.Subject, why)
		return nil
	}}
	h := b.handle(events.Filter{FromStart: true}, how, func(_ context.Context, m events.Message) error {
		tries <- m.Try
		if m.Try < 3 {
			return events.TryIn(time.Millisecond, errors.New("away"))
		}
		return nil
	})
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
	b.eventually("it is tried three times", func() bool { return len(h.handled()) == 3 })
	for want := 1; want <= 3; want++ {
		if got := <-tries; got != want {
			t.Errorf("try %d, want %d", got, want)
		}
	}
}

// TestHandleKnowsItsOwn meets a consumer of the same name without its mark, and then one with it.
func TestHandleKnowsItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	handle := func(name string, how events.Handling) error {
		how.Ready = cancel
		return b.client.HandleWith(ctx, name, events.Filter{}, how, succeed)
	}
	if err := handle("others", events.Handling{}); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	if err := handle("others", events.Handling{Mark: "shop"}); !errors.Is(err, events.ErrNotMine) {
		t.Errorf("another's: %v, want ErrNotMine", err)
	}
	for range 2 { // made, and found
		if err := handle("mine", events.Handling{Mark: "shop", Pending: 2000}); !errors.Is(err, context.Canceled) {
			t.Errorf("its own: %v", err)
		}
		ctx, cancel = context.WithCancel(t.Context())
	}
	cancel()
	consumer, err := b.js.Consumer(t.Context(), "KLING_EVENTS", "mine")
	if err != nil {
		t.Fatal(err)
	}
	if config := consumer.CachedInfo().Config; config.Metadata["shop"] == "" || config.MaxAckPending != 2000 || config.FilterSubject == "" {
		t.Errorf("the consumer is %+v", config)
	}
}

// TestHandleWithoutAName keeps no place for a next call.
func TestHandleWithoutAName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ready, done, got := make(chan struct{}), make(chan error, 1), make(chan string, 1)
	go func() {
		done <- b.client.HandleWith(ctx, "", events.Filter{}, events.Handling{Ready: func() { close(ready) }},
			func(_ context.Context, m events.Message) error {
				got <- m.Event.RequestID
				return nil
			})
	}()
	<-ready
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
	if id := <-got; id != "order-1" {
		t.Errorf("handled %s", id)
	}
	stream, err := b.js.Stream(t.Context(), "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	for info := range stream.ListConsumers(t.Context()).Info() {
		if info.Config.Durable != "" || info.Config.InactiveThreshold != time.Minute {
			t.Errorf("the consumer is %+v", info.Config)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
