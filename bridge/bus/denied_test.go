package bus_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// eventually polls a condition that has no signal of its own.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// allow is a server's configuration with one user.
func allow(permissions string) string {
	return `jetstream: {}
	authorization: {users: [{user: a, password: a, permissions: {` + permissions + `}}]}`
}

// restricted opens a bus that may do what is listed.
func restricted(t *testing.T, permissions string) (*bustest.Server, *bus.Bus) {
	t.Helper()
	srv := bustest.Start(t, bustest.Config(t, allow(permissions)))
	b, err := bus.Open(t.Context(), bus.Options{URL: srv.URL(), User: "a", Password: "a", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return srv, b
}

func says(words []string, part string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(w, part) })
}

// TestDeniedPublish tells of a publish without permission until one like it is answered.
func TestDeniedPublish(t *testing.T) {
	srv, b := restricted(t, `publish: ["$JS.API.>"]`)
	if err := b.EnsureStream(t.Context(), eventsConfig(system{replicas: 1}), ""); err != nil {
		t.Fatal(err)
	}
	if words := b.Denied(); len(words) > 0 {
		t.Errorf("nothing was denied, and it says %q", words)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stored := make(chan error, 1)
	go func() {
		_, err := b.Publish(ctx, message("completion.one", "x"))
		stored <- err
	}()
	eventually(t, "the violation is known", func() bool {
		return says(b.Denied(), `Permissions Violation for Publish to "put.completion.one"`)
	})
	srv.Reload(bustest.Config(t, allow(`publish: ["$JS.API.>", "put.>"]`)))
	if err := <-stored; err != nil {
		t.Fatal(err)
	}
	if words := b.Denied(); len(words) > 0 {
		t.Errorf("it works, and it still says %q", words)
	}
}

// TestDeniedAck has the server refuse an ack, which looks like one that is lost: the message would come again for ever.
func TestDeniedAck(t *testing.T) {
	srv, b := restricted(t, `publish: ["$JS.API.>", "put.>"]`)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.EnsureStream(ctx, eventsConfig(system{replicas: 1}), ""); err != nil {
		t.Fatal(err)
	}
	c, err := b.EnsureConsumer(ctx, "EVENTS", jetstream.ConsumerConfig{Durable: "d", AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"a", "b"} {
		if _, err := b.Publish(ctx, message(subject, subject)); err != nil {
			t.Fatal(err)
		}
	}
	var held [2]jetstream.Msg
	for i := range held {
		if held[i], err = c.Next(jetstream.FetchMaxWait(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		short, stop := context.WithTimeout(ctx, 100*time.Millisecond)
		defer stop()
		if b.DoubleAck(short, held[i]) == nil {
			t.Fatal("acked without permission")
		}
	}
	eventually(t, "the violation is known", func() bool { return says(b.Denied(), `"$JS.ACK.EVENTS.d.`) })
	if words := b.Denied(); len(words) != 1 {
		t.Errorf("the same for each message: %q", words)
	}
	srv.Reload(bustest.Config(t, allow(`publish: ["$JS.API.>", "put.>", "$JS.ACK.>"]`)))
	if err := b.DoubleAck(ctx, held[0]); err != nil {
		t.Fatal(err)
	}
	if words := b.Denied(); len(words) > 0 {
		t.Errorf("it works, and it still says %q", words)
	}
}

// TestDeniedSubscription has a subscription come back that the server had dropped.
func TestDeniedSubscription(t *testing.T) {
	srv, b := restricted(t, `subscribe: ["_INBOX.>"]`)
	heard := make(chan *nats.Msg, 1)
	if _, err := b.Conn().ChanSubscribe("news.>", heard); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the violation is known", func() bool {
		return says(b.Denied(), `Permissions Violation for Subscription to "news.>"`)
	})
	b.RetryDenied(t.Context())
	if len(b.Denied()) != 1 {
		t.Errorf("still denied, and it says %q", b.Denied())
	}
	srv.Reload(bustest.Config(t, allow(`subscribe: ["_INBOX.>", "news.>"]`)))
	b.RetryDenied(t.Context())
	eventually(t, "the connection is made anew", func() bool { return len(b.Denied()) == 0 && b.Connected() })
	if err := b.Conn().Publish("news.a", nil); err != nil {
		t.Fatal(err)
	}
	select {
	case <-heard:
	case <-time.After(time.Minute):
		t.Error("nothing is heard although it is allowed")
	}
}

// TestDeniedDirectGet waits for an answer once, and then no more. Nobody is told, as the leader can be asked.
func TestDeniedDirectGet(t *testing.T) {
	_, b := restricted(t, `publish: ["$JS.API.STREAM.>"]`)
	if err := b.EnsureStream(t.Context(), eventsConfig(system{replicas: 1}), ""); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is known", func() bool {
		_, err := b.LastDirect(t.Context(), "EVENTS", "completion.one")
		return errors.Is(err, bus.ErrUnavailable)
	})
	if words := b.Denied(); len(words) > 0 {
		t.Errorf("it says %q", words)
	}
	if _, err := b.Last(t.Context(), "EVENTS", "completion.one"); !errors.Is(err, bus.ErrNoMessage) {
		t.Errorf("the leader says %v", err)
	}
}
