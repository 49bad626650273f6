package bus_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// openTogether runs an embedded server with a stream that takes batches.
func openTogether(t *testing.T, dir string) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{
		EmbeddedAddr: "127.0.0.1:0", DataDir: dir, Together: "put.", Logger: quiet(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	config := eventsConfig(system{replicas: 1})
	config.AllowAtomicPublish = true
	ensureStream(t, b, config)
	return b
}

// publishAtOnce publishes messages at the same time.
func publishAtOnce(t *testing.T, b *bus.Bus, msgs []*nats.Msg) []bus.Ack {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	acks := make([]bus.Ack, len(msgs))
	var publishing sync.WaitGroup
	for i, msg := range msgs {
		publishing.Go(func() {
			var err error
			if acks[i], err = b.Publish(ctx, msg); err != nil {
				t.Errorf("%s: %v", msg.Subject, err)
			}
		})
	}
	publishing.Wait()
	return acks
}

func completions(prefix string, n int) []*nats.Msg {
	var msgs []*nats.Msg
	for i := range n {
		name := fmt.Sprintf("%s-%d", prefix, i)
		msg := message("pub."+name, name)
		msg.Data = []byte(name)
		bus.GuardSequence(msg, "pub."+name, 0)
		msgs = append(msgs, msg)
	}
	return msgs
}

// inBatches counts the stored messages that came in a batch, and checks that each ack names its own message.
func inBatches(t *testing.T, b *bus.Bus, msgs []*nats.Msg, acks []bus.Ack) (n int) {
	t.Helper()
	for i, msg := range msgs {
		stored, err := b.Last(t.Context(), "EVENTS", msg.Subject[len("put."):])
		if err != nil {
			t.Fatalf("%s: %v", msg.Subject, err)
		}
		if !acks[i].Stored || acks[i].Seq != stored.Seq || string(stored.Data) != string(msg.Data) {
			t.Errorf("%s: ack %+v, stored as %d: %s", msg.Subject, acks[i], stored.Seq, stored.Data)
		}
		if stored.Header.Get("Nats-Batch-Id") != "" {
			n++
		}
	}
	return n
}

func TestTogether(t *testing.T) {
	dir := t.TempDir()
	b := openTogether(t, dir)
	const n = 400
	first := completions("a", n)
	acks := publishAtOnce(t, b, first)
	if got := inBatches(t, b, first, acks); got < n/2 {
		t.Errorf("%d of %d messages were stored in batches", got, n)
	}

	// Every second one is refused, which must not harm those beside it.
	again := completions("a", n)
	for i := 1; i < n; i += 2 {
		again[i] = completions("b", n)[i]
	}
	for i, ack := range publishAtOnce(t, b, again) {
		if ack.Stored != (i%2 == 1) {
			t.Errorf("%s: %+v", again[i].Subject, ack)
		}
	}

	b.Close()
	b = openTogether(t, dir)
	for _, msg := range first {
		if _, err := b.Last(t.Context(), "EVENTS", msg.Subject[len("put."):]); err != nil {
			t.Errorf("%s after the restart: %v", msg.Subject, err)
		}
	}
}

// TestTogetherTimers has timers that were stored in a batch fire, be replaced and be removed.
func TestTogetherTimers(t *testing.T) {
	b := openTogether(t, t.TempDir())
	const n = 100
	timers := func(at time.Time) (msgs []*nats.Msg) {
		for i := range n {
			msg := message(fmt.Sprintf("state.pending.%d", i), "")
			msg.Data = []byte("record")
			bus.ScheduleAt(msg, at, fmt.Sprintf("put.state.due.%d", i))
			msgs = append(msgs, msg)
		}
		return msgs
	}
	publishAtOnce(t, b, timers(time.Now().Add(time.Hour)))
	late := timers(time.Now().Add(100 * time.Millisecond))
	if got := inBatches(t, b, late, publishAtOnce(t, b, late)); got < n/2 {
		t.Errorf("%d of %d timers were stored in batches", got, n)
	}
	c, err := b.JetStream().CreateConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{
		FilterSubject: "state.due.>", AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	fired := map[string]bool{}
	for len(fired) < n {
		msg, err := c.Next(jetstream.FetchMaxWait(20 * time.Second))
		if err != nil {
			t.Fatalf("after %d of %d timers: %v", len(fired), n, err)
		}
		fired[msg.Subject()] = true
	}

	publishAtOnce(t, b, timers(time.Now().Add(time.Hour)))
	ends := completions("end", n)
	for i, msg := range ends {
		bus.PurgeTimer(msg, fmt.Sprintf("state.pending.%d", i))
	}
	if got := inBatches(t, b, ends, publishAtOnce(t, b, ends)); got < n/2 {
		t.Errorf("%d of %d completions were stored in batches", got, n)
	}
	left, err := b.StateOf(t.Context(), "EVENTS", "state.pending.>")
	if err != nil || len(left.Subjects) > 0 {
		t.Errorf("%d timers are left, %v", len(left.Subjects), err)
	}
}
