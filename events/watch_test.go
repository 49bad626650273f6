package events_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

var longAgo = time.Unix(1, 0)

func TestWatchFilters(t *testing.T) {
	t.Parallel()
	other := event("order-2", events.StatusFailed)
	other.Kind = "effects"
	for name, tt := range map[string]struct {
		filter events.Filter
		want   []string
	}{
		"all": {events.Filter{}, []string{
			"kling.progress.text2video.submitted.order-1", "kling.progress.text2video.submitted.order-2",
			"kling.completion.effects.failed.order-2", "kling.completion.text2video.succeed.order-1",
			"kling.late.text2video.succeed.order-2",
		}},
		"kind": {events.Filter{Kind: "effects"}, []string{"kling.completion.effects.failed.order-2"}},
		"status": {events.Filter{Status: events.StatusSucceed}, []string{
			"kling.completion.text2video.succeed.order-1", "kling.late.text2video.succeed.order-2",
		}},
		"id": {events.Filter{ID: "order-1"}, []string{
			"kling.progress.text2video.submitted.order-1", "kling.completion.text2video.succeed.order-1",
		}},
		"type": {events.Filter{Types: []events.Type{events.TypeLate, events.TypeLate}}, []string{
			"kling.late.text2video.succeed.order-2",
		}},
		"all at once": {
			events.Filter{
				Kind: "text2video", Status: events.StatusSubmitted, ID: "order-2", Types: []events.Type{events.TypeProgress},
			},
			[]string{"kling.progress.text2video.submitted.order-2"},
		},
		"archived": {events.Filter{Types: []events.Type{events.TypeArchived}}, []string{
			"kling.archived.text2video.succeed.order-1",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.store(b.js, events.TypeProgress, event("order-1", events.StatusSubmitted))
			b.store(b.js, events.TypeProgress, event("order-2", events.StatusSubmitted))
			b.store(b.js, events.TypeCompletion, other)
			b.store(b.js, events.TypeCompletion, event("order-1", events.StatusSucceed))
			b.store(b.js, events.TypeLate, event("order-2", events.StatusSucceed))
			b.put("kling.archived.text2video.succeed.order-1", `{"request_id":"order-1","kind":"text2video","files":[]}`)
			b.put("kling-state.pending.text2video.video.order-1", `{}`)

			tt.filter.Since = longAgo
			if got := b.watched(tt.filter); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func (b *bundle) put(subject, body string) {
	b.t.Helper()
	if _, err := b.js.Publish(b.t.Context(), subject, []byte(body)); err != nil {
		b.t.Fatal(err)
	}
}

// watched returns the subjects of what is stored. A last message that every filter lets through ends it.
func (b *bundle) watched(f events.Filter) []string {
	b.t.Helper()
	or := func(s, fallback string) string {
		if s == "" {
			return fallback
		}
		return s
	}
	eventType := events.TypeCompletion
	if len(f.Types) > 0 {
		eventType = f.Types[0]
	}
	b.put(fmt.Sprintf("kling.%s.%s.%s.%s", eventType, or(f.Kind, "text2video"), or(string(f.Status), "failed"),
		or(f.ID, "order-3")), `{"message":"the end"}`)
	var subjects []string
	for m, err := range b.client.Watch(b.t.Context(), f) {
		if err != nil {
			b.t.Fatal(err)
		}
		if m.Event.Message == "the end" {
			break
		}
		subjects = append(subjects, m.Subject)
	}
	return subjects
}

func TestWatchYieldsWhatWasStored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	want := event("order-1", events.StatusSucceed)
	b.store(b.js, events.TypeCompletion, want)
	for m, err := range b.client.Watch(t.Context(), events.Filter{Since: longAgo}) {
		if err != nil {
			t.Fatal(err)
		}
		stored, err := eventstest.Message(b.subjects, events.TypeCompletion, &want)
		if err != nil {
			t.Fatal(err)
		}
		if m.Type != events.TypeCompletion || m.Header.Get("ce-id") != "order-1.completion" || string(m.Raw) != string(stored.Data) {
			t.Errorf("got %+v", m)
		}
		if diff := cmp.Diff(want, m.Event); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
		break
	}
	if n := b.readers(); n != 0 {
		t.Errorf("%d consumers are left", n)
	}
}

func TestWatchRefusesWhatIsNoFilter(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, f := range []events.Filter{{Kind: "a.b"}, {Status: ">"}, {Types: []events.Type{"request"}}} {
		for _, err := range b.client.Watch(t.Context(), f) {
			if err == nil {
				t.Errorf("%+v is no error", f)
			}
		}
	}
}

func TestWatchOfNewEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(b.js, events.TypeCompletion, event("old", events.StatusFailed))
	done := make(chan string, 1)
	go func() {
		for m, err := range b.client.Watch(t.Context(), events.Filter{}) {
			done <- fmt.Sprint(m.Event.RequestID, err)
			return
		}
	}()
	b.eventually("somebody watches", func() bool { return b.waiting() > 0 })
	b.store(b.js, events.TypeCompletion, event("new", events.StatusFailed))
	if got := <-done; got != "new<nil>" {
		t.Errorf("first came %s, want the new event", got)
	}
}

// A consumer for new messages would lose what is stored before the one that replaces it.
func TestWatchOfNewEventsOverALostConsumer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, publisher := b.connect()
	done := make(chan string, 1)
	go func() {
		for m, err := range b.client.Watch(t.Context(), events.Filter{}) {
			done <- fmt.Sprint(m.Event.RequestID, err)
			return
		}
	}()
	b.eventually("somebody watches", func() bool { return b.waiting() > 0 })
	b.deleteReaders()
	b.store(publisher, events.TypeCompletion, event("order-1", events.StatusFailed))
	b.store(publisher, events.TypeCompletion, event("order-2", events.StatusFailed))
	if got := <-done; got != "order-1<nil>" {
		t.Errorf("first came %s, want order-1", got)
	}
}

func TestWatchSeesEachOnceInOrder(t *testing.T) {
	t.Parallel()
	const total = 300
	b := setup(t)
	_, publisher := b.connect()
	published := make(chan error, 1)
	go func() {
		for i := range total {
			ev := event(fmt.Sprintf("order-%d", i), events.StatusFailed)
			if err := storeEvent(t.Context(), publisher, b.subjects, events.TypeCompletion, ev); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	next := 0
	for m, err := range b.client.Watch(t.Context(), events.Filter{Since: longAgo}) {
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf("order-%d", next); m.Event.RequestID != want {
			t.Fatalf("got %s, want %s", m.Event.RequestID, want)
		}
		if next++; next == total {
			break
		}
		if next%50 == 0 {
			b.forceReconnect()
		}
	}
	if err := <-published; err != nil {
		t.Fatal(err)
	}
}

func TestWatchGoesOnAfterWhatCannotBeDecoded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.put("kling.completion.text2video.failed.order-1", "not JSON")
	b.put("kling.completion.text2video.failed.order-2", `{"request_id":"order-2"}`)
	var got []string
	for m, err := range b.client.Watch(t.Context(), events.Filter{Since: longAgo}) {
		got = append(got, fmt.Sprint(m.Subject, " ", err == nil))
		if err == nil {
			break
		}
		if string(m.Raw) != "not JSON" {
			t.Errorf("body %q with the error", m.Raw)
		}
	}
	want := []string{
		"kling.completion.text2video.failed.order-1 false", "kling.completion.text2video.failed.order-2 true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWatchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b.store(b.js, events.TypeCompletion, event("order-1", events.StatusFailed))
	var last error
	for _, err := range b.client.Watch(ctx, events.Filter{Since: longAgo}) {
		last = err
		cancel()
	}
	if !errors.Is(last, context.Canceled) {
		t.Errorf("the last error is %v, want that of the context", last)
	}
}
