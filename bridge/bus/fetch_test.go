package bus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// work makes a stream of work with one durable consumer.
func work(t *testing.T, b *bus.Bus) {
	t.Helper()
	ensureStream(t, b, jetstream.StreamConfig{
		Name: "WORK", Subjects: []string{"work.>"}, Retention: jetstream.WorkQueuePolicy, Storage: jetstream.FileStorage,
	})
	if _, err := b.EnsureConsumer(t.Context(), "WORK", jetstream.ConsumerConfig{
		Durable: "workers", AckPolicy: jetstream.AckExplicitPolicy, AckWait: time.Minute,
	}); err != nil {
		t.Fatal(err)
	}
}

// fetch collects what a pull brings.
func fetch(t *testing.T, b *bus.Bus, n int, wait time.Duration) (got []jetstream.Msg, err error) {
	t.Helper()
	err = b.Fetch(t.Context(), "WORK", "workers", n, wait, func(m jetstream.Msg) { got = append(got, m) })
	return got, err
}

// TestFetchTakesNoMessageForAStatus delivers messages that look like what the server itself says: recorded, empty ones with
// "Status: 409" and "Description: Consumer Deleted" ended every pull of the client library and were never delivered.
func TestFetchTakesNoMessageForAStatus(t *testing.T) {
	b := open(t, bustest.Start(t).URL())
	work(t, b)
	for _, status := range []string{"409", "404", "408", "100", "503", "400", "x"} {
		msg := nats.NewMsg("work." + status)
		msg.Header.Set("Status", status)
		msg.Header.Set("Description", "Consumer Deleted")
		if _, err := b.JetStream().PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	got, err := fetch(t, b, 7, 120*time.Second)
	if err != nil || len(got) != 7 {
		t.Fatalf("%d messages, want 7; %v", len(got), err)
	}
	for _, m := range got {
		meta, err := m.Metadata()
		if err != nil || meta.Stream != "WORK" || meta.Consumer != "workers" || meta.NumDelivered != 1 {
			t.Errorf("%s: %+v, %v", m.Subject(), meta, err)
		}
		if err := m.DoubleAck(t.Context()); err != nil {
			t.Errorf("ack %s: %v", m.Subject(), err)
		}
	}
	if state, err := b.State(t.Context(), "WORK"); err != nil || state.Msgs != 0 {
		t.Errorf("%d messages are left; %v", state.Msgs, err)
	}
}

func TestFetchEnds(t *testing.T) {
	b := open(t, bustest.Start(t).URL())
	work(t, b)
	if got, err := fetch(t, b, 3, 50*time.Millisecond); err != nil || len(got) != 0 {
		t.Errorf("of an empty stream: %d messages, %v", len(got), err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Fetch(ctx, "WORK", "workers", 1, time.Minute, func(jetstream.Msg) {}) }()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("after its context has ended: %v", err)
	}
	deleted := make(chan error, 1)
	go func() {
		deleted <- b.Fetch(t.Context(), "WORK", "workers", 1, time.Minute, func(jetstream.Msg) {})
	}()
	waitForPull(t, b)
	if err := b.JetStream().DeleteConsumer(t.Context(), "WORK", "workers"); err != nil {
		t.Fatal(err)
	}
	if err := <-deleted; !errors.Is(err, jetstream.ErrConsumerDeleted) {
		t.Errorf("of a consumer that is deleted meanwhile: %v", err)
	}
	if _, err := fetch(t, b, 1, time.Minute); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("of a consumer that is gone: %v", err)
	}
}

// waitForPull waits until the server knows of a pull.
func waitForPull(t *testing.T, b *bus.Bus) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 3000 {
		c, err := b.JetStream().Consumer(t.Context(), "WORK", "workers")
		if err != nil {
			t.Fatal(err)
		}
		if c.CachedInfo().NumWaiting > 0 {
			return
		}
		<-tick.C
	}
	t.Fatal("the server does not know of the pull")
}
