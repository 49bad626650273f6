package events_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// handling is a call of HandleWith that a test ends.
type handling struct {
	stop func() error

	mu   sync.Mutex
	seen []string // request ids, in the order in which they were handled
}

func (h *handling) note(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen = append(h.seen, id)
}

func (h *handling) handled() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Sorted(slices.Values(h.seen))
}

// handle runs HandleWith until the test ends or stops it. Every try is noted.
func (b *bundle) handle(f events.Filter, how events.Handling, handle func(context.Context, events.Message) error) *handling {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	h := &handling{}
	done := make(chan error, 1)
	go func() {
		done <- b.client.HandleWith(ctx, "videos", f, how, func(ctx context.Context, m events.Message) error {
			h.note(m.Event.RequestID)
			return handle(ctx, m)
		})
	}()
	h.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	b.t.Cleanup(func() { _ = h.stop() })
	return h
}

func succeed(context.Context, events.Message) error { return nil }

func TestHandleGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(b.js, events.TypeCompletion, event("before", events.StatusSucceed))
	first := b.handle(events.Filter{}, events.Handling{}, succeed)
	b.eventually("the consumer is there", func() bool {
		_, err := b.js.Consumer(t.Context(), "KLING_EVENTS", "videos")
		return err == nil
	})
	b.store(b.js, events.TypeProgress, event("order-1", events.StatusSubmitted))
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
	b.store(b.js, events.TypeCompletion, event("order-2", events.StatusFailed))
	b.eventually("both are handled", func() bool { return len(first.handled()) == 2 })
	if err := first.stop(); !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
	b.store(b.js, events.TypeCompletion, event("order-3", events.StatusSucceed)) // while nobody is there
	b.restart()
	second := b.handle(events.Filter{FromStart: true}, events.Handling{}, succeed) // which is for the first call only
	b.eventually("the third is handled", func() bool { return len(second.handled()) == 1 })
	if got := slices.Concat(first.handled(), second.handled()); !slices.Equal(got, []string{"order-1", "order-2", "order-3"}) {
		t.Errorf("handled %q, want each completion once", got)
	}
}

func TestHandleFromStart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
	h := b.handle(events.Filter{FromStart: true, Status: events.StatusSucceed}, events.Handling{}, succeed)
	b.store(b.js, events.TypeCompletion, event("order-2", events.StatusFailed))
	b.store(b.js, events.TypeCompletion, event("order-3", events.StatusSucceed))
	b.eventually("both are handled", func() bool { return slices.Equal(h.handled(), []string{"order-1", "order-3"}) })
}

func TestHandleTriesAgainAndSetsAside(t *testing.T) {
	t.Parallel()
	b := setup(t)
	type aside struct {
		m   events.Message
		why error
	}
	told := make(chan aside, 10)
	how := events.Handling{Tries: 2, SetAside: func(_ context.Context, m events.Message, why error) error {
		told <- aside{m, why}
		return nil
	}}
	broken, never := errors.New("database is away"), errors.New("no such order")
	h := b.handle(events.Filter{FromStart: true}, how, func(_ context.Context, m events.Message) error {
		switch m.Event.RequestID {
		case "poison":
			return broken
		case "hopeless":
			return events.SetAside(never)
		default:
			return nil
		}
	})
	b.put("kling.completion.text2video.succeed.noise", "not JSON")
	for _, id := range []string{"poison", "hopeless", "order-1"} {
		b.store(b.js, events.TypeCompletion, event(id, events.StatusSucceed))
	}
	got := map[string]error{}
	for range 3 {
		a := <-told
		got[a.m.Event.RequestID] = a.why
		if a.m.Sequence == 0 || a.m.Subject == "" {
			t.Errorf("set aside %+v, want it to say where it is stored", a.m)
		}
	}
	if !errors.Is(got["poison"], broken) || !errors.Is(got["hopeless"], never) || got[""] == nil {
		t.Errorf("set aside %v", got)
	}
	b.eventually("nothing is left", func() bool {
		consumer, err := b.js.Consumer(t.Context(), "KLING_EVENTS", "videos")
		return err == nil && consumer.CachedInfo().NumAckPending == 0 && consumer.CachedInfo().NumPending == 0
	})
	if want := []string{"hopeless", "order-1", "poison", "poison"}; !slices.Equal(h.handled(), want) {
		t.Errorf("tries %q, want %q", h.handled(), want)
	}
}

func TestHandleIsBoundedAndInTheTrace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var mu sync.Mutex
	now, most := 0, 0
	release := make(chan struct{})
	const traceID = "0af7651916cd43dd8448eb211c80319c"
	h := b.handle(events.Filter{FromStart: true}, events.Handling{AtATime: 3}, func(ctx context.Context, m events.Message) error {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		if got := trace.SpanContextFromContext(ctx).TraceID().String(); got != traceID {
			t.Errorf("event %s is handled in trace %s", m.Event.RequestID, got)
		}
		<-release
		mu.Lock()
		defer mu.Unlock()
		now--
		return nil
	})
	for _, id := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		ev := event(id, events.StatusSucceed)
		msg, err := eventstest.Message(b.subjects, events.TypeCompletion, &ev)
		if err != nil {
			t.Fatal(err)
		}
		msg.Header.Set("traceparent", "00-"+traceID+"-b7ad6b7169203331-01")
		if _, err := b.js.PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	b.eventually("three are in hand", func() bool { return len(h.handled()) == 3 })
	close(release)
	b.eventually("all are handled", func() bool { return len(h.handled()) == 7 })
	mu.Lock()
	defer mu.Unlock()
	if most != 3 {
		t.Errorf("%d at a time, want 3", most)
	}
}

func TestHandleEnds(t *testing.T) {
	t.Parallel()
	empty := setupEmpty(t)
	if err := empty.client.Handle(t.Context(), "videos", events.Filter{}, nil); !errors.Is(err, events.ErrNoBridge) {
		t.Errorf("without a stream: %v, want ErrNoBridge", err)
	}
	b := setup(t)
	if err := b.client.Handle(t.Context(), "a b", events.Filter{}, nil); err == nil {
		t.Error("a durable name with a space is taken")
	}
	ended := make(chan error, 1)
	go func() {
		ended <- b.client.Handle(t.Context(), "videos", events.Filter{}, func(context.Context, events.Event) error { return nil })
	}()
	b.eventually("the consumer can be deleted", func() bool { return b.js.DeleteConsumer(t.Context(), "KLING_EVENTS", "videos") == nil })
	select {
	case err := <-ended:
		if err == nil || errors.Is(err, context.Canceled) {
			t.Errorf("without its consumer it ended with %v", err)
		}
	case <-time.After(startTimeout * 2):
		t.Error("it goes on without its consumer")
	}
}

func TestDoTellsProgress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var told []events.Status
	b.store(b.js, events.TypeProgress, event("order-1", events.StatusSubmitted))
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
	ev, err := b.client.Do(t.Context(), textBody, events.Options{
		ID: "order-1", OnProgress: func(ev events.Event) { told = append(told, ev.Status) },
	})
	if err != nil || ev.Status != events.StatusSucceed || !slices.Equal(told, []events.Status{events.StatusSubmitted}) {
		t.Errorf("%v, %v, told %q", ev.Status, err, told)
	}
}
