package events_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// TestHandleSetsAsideBeforeItGivesUp has the place that poison is kept in fail once: the event is not lost for it.
func TestHandleSetsAsideBeforeItGivesUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pending := func() int {
		consumer, err := b.js.Consumer(t.Context(), "KLING_EVENTS", "videos")
		if err != nil {
			t.Error(err)
			return -1
		}
		return consumer.CachedInfo().NumAckPending
	}
	poison := errors.New("no such order")
	kept := make(chan error, 10)
	calls := 0
	how := events.Handling{AtATime: 1, SetAside: func(_ context.Context, _ events.Message, why error) error {
		calls++
		if n := pending(); n != 1 {
			t.Errorf("%d events are in hand while one is set aside, want 1", n)
		}
		if calls == 1 {
			return errors.New("the table is locked")
		}
		kept <- why
		return nil
	}}
	h := b.handle(events.Filter{FromStart: true}, how, func(context.Context, events.Message) error { return events.SetAside(poison) })
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
	select {
	case why := <-kept:
		if !errors.Is(why, poison) {
			t.Errorf("set aside for %v", why)
		}
	case <-time.After(startTimeout):
		t.Fatal("what could not be set aside did not come again")
	}
	b.eventually("it is given up", func() bool { return pending() == 0 })
	if got := h.handled(); len(got) != 2 {
		t.Errorf("%d tries, want one before each of two calls of SetAside", len(got))
	}
}

// TestHandleCountsFailures has a handler that puts off an event more often than it may fail, before it fails.
func TestHandleCountsFailures(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const postponed, tries = 3, 2
	aside := make(chan int, 1)
	how := events.Handling{Tries: tries, SetAside: func(_ context.Context, m events.Message, _ error) error {
		aside <- m.Try
		return nil
	}}
	b.handle(events.Filter{FromStart: true}, how, func(_ context.Context, m events.Message) error {
		if m.Try <= postponed {
			return events.TryIn(time.Millisecond, errors.New("busy"))
		}
		return errors.New("broken")
	})
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
	if try := <-aside; try != postponed+tries {
		t.Errorf("set aside at delivery %d, want %d: %d that were put off and %d failures", try, postponed+tries, postponed, tries)
	}
}

// lines sends what is logged to a test.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// TestHandleSaysWhatCannotBeSetAside has the place that poison is kept in fail. It was silent: such an event came again for ever,
// and nobody knew. No other test runs beside it, as all log by slog's default.
func TestHandleSaysWhatCannotBeSetAside(t *testing.T) {
	logged := make(lines, 100)
	was := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(logged, nil)))
	t.Cleanup(func() { slog.SetDefault(was) })
	b := setup(t)
	how := events.Handling{SetAside: func(context.Context, events.Message, error) error { return errors.New("the table is locked") }}
	b.handle(events.Filter{FromStart: true}, how, func(context.Context, events.Message) error {
		return events.SetAside(errors.New("no such order"))
	})
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
	select {
	case line := <-logged:
		for _, says := range []string{"could not be set aside", "the table is locked", "no such order", "request_id=order-1", "sequence=1"} {
			if !strings.Contains(line, says) {
				t.Errorf("logged %q, which does not say %q", line, says)
			}
		}
	case <-time.After(startTimeout):
		t.Error("nothing was logged")
	}
}
