package events_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// TestHandleLeavesTheBridgesAlone asks for the place of the bridge's own timers.
func TestHandleLeavesTheBridgesAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.js.CreateConsumer(t.Context(), "KLING_EVENTS", jetstream.ConsumerConfig{
		Durable: "polls", Description: "klingbridge: tasks whose poll is due", FilterSubject: "kling-state.due.>",
		AckPolicy: jetstream.AckExplicitPolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for _, how := range []events.Handling{{Ready: cancel}, {Ready: cancel, Mark: "shop"}} {
		err = b.client.HandleWith(ctx, "polls", events.Filter{}, how, succeed)
		if !errors.Is(err, events.ErrNotMine) || !strings.Contains(err.Error(), "polls is the bridge's own") {
			t.Errorf("with the mark %q: %v", how.Mark, err)
		}
	}
	consumer, err := b.js.Consumer(t.Context(), "KLING_EVENTS", "polls")
	if err != nil {
		t.Fatal(err)
	}
	if got := consumer.CachedInfo().Config.FilterSubject; got != "kling-state.due.>" {
		t.Errorf("it filters %q now", got)
	}
}

// TestHandleLeavesTheBridgesNamesAlone asks for the name of a consumer that the bridge makes when archiving is switched on. Recorded:
// the bridge took what was made there for its own.
func TestHandleLeavesTheBridgesNamesAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := b.client.HandleWith(ctx, "archive", events.Filter{}, events.Handling{Ready: cancel}, succeed); !errors.Is(err, events.ErrNotMine) {
		t.Errorf("%v, want ErrNotMine", err)
	}
	if _, err := b.js.Consumer(t.Context(), "KLING_EVENTS", "archive"); !errors.Is(err, jetstream.ErrConsumerNotFound) {
		t.Errorf("%v, want no consumer", err)
	}
}

// TestHandleStartsTogether has processes that begin at the same moment, each an hour before its own now. The server refuses
// to change where a consumer begins ("start time can not be updated").
func TestHandleStartsTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const processes, places = 4, 10
	var clients []*events.Client
	for range processes {
		nc, _ := b.connect()
		client, err := events.NewClient(nc, b.subjects)
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, client)
	}
	for place := range places {
		start, ended := make(chan struct{}), make(chan error, processes)
		for i, client := range clients {
			go func() {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				since := time.Now().Add(-time.Hour + time.Duration(i)*time.Millisecond)
				<-start
				ended <- client.HandleWith(ctx, fmt.Sprintf("videos-%d", place), events.Filter{Since: since},
					events.Handling{Ready: cancel}, succeed)
			}()
		}
		close(start)
		for range processes {
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
}
