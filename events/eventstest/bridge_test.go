package eventstest_test

import (
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestBridgePlaysItsScript also holds what the fake publishes to the contract.
func TestBridgePlaysItsScript(t *testing.T) {
	t.Parallel()
	classes := map[string]events.ErrorClass{
		"failed": events.ErrorPolicy, "rejected": events.ErrorInvalid, "expired": events.ErrorExpired, "cancelled": events.ErrorCancelled,
	}
	b := eventstest.StartBridge(t, func(r eventstest.Request) (events.Result, *events.Error) {
		if class := classes[r.ID]; class != "" {
			return events.Result{}, &events.Error{Class: class, Message: "no"}
		}
		return eventstest.Video("https://cdn.example/a.mp4?x=1&y=2")(r)
	})
	began := time.Now().Add(-time.Minute)
	for _, want := range []events.Status{
		events.StatusSucceed, events.StatusFailed, events.StatusRejected, events.StatusExpired, events.StatusCancelled,
	} {
		o := events.Options{ID: string(want), Metadata: map[string]string{"Tenant": "acme"}}
		ev, err := b.Client.Do(t.Context(), body.Text2Video{Prompt: "a"}, o)
		if err != nil || ev.Status != want || ev.Metadata["Tenant"] != "acme" || (ev.Err() == nil) != (want == events.StatusSucceed) {
			t.Errorf("want %s, got %+v, %v", want, ev, err)
		}
		if want == events.StatusSucceed && ev.Result.Videos[0].URL != "https://cdn.example/a.mp4?x=1&y=2" {
			t.Errorf("result %+v", ev.Result)
		}
	}
	n := 0
	for m, err := range b.Client.Watch(t.Context(), events.Filter{Since: began}) {
		if err != nil {
			t.Fatal(err)
		}
		eventstest.Check(t, m.Subject, m.Header, m.Raw)
		if n++; n == 9 { // one was rejected, the others were submitted
			break
		}
	}
}

func TestBridgeTakesAnIDOnce(t *testing.T) {
	t.Parallel()
	b := eventstest.StartBridge(t, eventstest.Video("https://cdn.example/a.mp4"))
	for _, id := range []string{"order-1", "order-1", "order-2"} {
		if _, err := b.Client.Do(t.Context(), body.Text2Video{Prompt: id}, events.Options{ID: id, Priority: events.PriorityHigh}); err != nil {
			t.Fatal(err)
		}
	}
	got := b.Requests()
	if len(got) != 2 || got[0].ID != "order-1" || got[1].ID != "order-2" ||
		got[0].Priority != events.PriorityHigh || string(got[0].Body) != `{"prompt":"order-1"}` {
		t.Errorf("got %+v", got)
	}
	if _, err := b.Client.Task(t.Context(), "order-1"); !errors.Is(err, events.ErrNoAnswer) {
		t.Errorf("got %v, want ErrNoAnswer", err)
	}
	if _, err := b.Client.Submit(t.Context(), body.Raw("unheard-of", []byte(`{}`)), events.Options{}); !errors.Is(err, events.ErrUnknownKind) {
		t.Errorf("got %v, want ErrUnknownKind", err)
	}
}
