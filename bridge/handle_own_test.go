package bridge_test

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// wantNotMine asks for the place of a consumer, and wants to be refused.
func (w *world) wantNotMine(name string) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	err := w.client.HandleWith(ctx, name, events.Filter{}, events.Handling{Ready: cancel}, func(context.Context, events.Message) error { return nil })
	if !errors.Is(err, events.ErrNotMine) {
		w.t.Errorf("consumer %s: %v, want ErrNotMine", name, err)
	}
}

// consumer is how a consumer of events is configured.
func (w *world) consumer(name string) jetstream.ConsumerConfig {
	w.t.Helper()
	c, err := w.js.Consumer(w.ctx, "KLING_EVENTS", name)
	if err != nil {
		w.t.Fatal(err)
	}
	return c.CachedInfo().Config
}

// TestHandleLeavesEveryConsumerOfTheBridgeAlone asks for the place of each consumer that a bridge has in the stream of events,
// while it is there and before it is made.
func TestHandleLeavesEveryConsumerOfTheBridgeAlone(t *testing.T) {
	t.Parallel()
	w := start(t, setup{archive: "file://" + t.TempDir()})
	stream, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	var own []jetstream.ConsumerConfig
	consumers := stream.ListConsumers(w.ctx)
	for info := range consumers.Info() {
		if info.Config.Durable != "" {
			own = append(own, w.consumer(info.Name))
		}
	}
	if consumers.Err() != nil || len(own) != 2 {
		t.Fatalf("%d durable consumers, %v; want those of polls and of the archive", len(own), consumers.Err())
	}
	for _, was := range own {
		w.wantNotMine(was.Durable)
		if got := w.consumer(was.Durable); !reflect.DeepEqual(got, was) {
			t.Errorf("consumer %s is %+v, was %+v", was.Durable, got, was)
		}
	}
	w.replicas[0].stop()
	for _, was := range own {
		if err := w.js.DeleteConsumer(w.ctx, "KLING_EVENTS", was.Durable); err != nil {
			t.Fatal(err)
		}
		w.wantNotMine(was.Durable)
		if _, err := w.js.Consumer(w.ctx, "KLING_EVENTS", was.Durable); !errors.Is(err, jetstream.ErrConsumerNotFound) {
			t.Errorf("consumer %s: %v, want none", was.Durable, err)
		}
	}
}
