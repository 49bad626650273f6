package bridge

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/events"
)

// TestRequestsExpireInTheStream lets deadlines pass while nobody takes requests off the stream.
func TestRequestsExpireInTheStream(t *testing.T) {
	srv := bustest.Start(t)
	l := newLedger(t, srv.URL(), 1)
	ctx := t.Context()
	if err := l.bus.EnsureStream(ctx, requestsStream(l.subjects, l.kinds, l.bus.MaxPayload()), "kling."); err != nil {
		t.Fatal(err)
	}
	publish := func(id, timeout string) {
		msg := nats.NewMsg("kling.request.text2video")
		msg.Header.Set(events.HeaderRequestID, id)
		msg.Header.Set(events.HeaderTimeout, timeout)
		msg.Header.Set("Kling-Meta-Tenant", "acme")
		msg.Data = []byte(`{"prompt":"a"}`)
		if _, err := l.bus.JetStream().PublishMsg(ctx, msg); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		publish(fmt.Sprintf("short-%d", i), "60")
		publish(fmt.Sprintf("long-%d", i), "6h")
	}
	stream := &requestStream{bus: l.bus, subjects: l.subjects, kinds: l.kinds, taskTimeout: time.Hour}
	w := &expirer{stream: stream, ledger: l, log: slog.New(slog.DiscardHandler)}
	inHand := newTestRecord("short-7") // another replica has just begun with this one
	if _, ok, err := l.intend(ctx, inHand, time.Now().Add(time.Hour)); err != nil || !ok {
		t.Fatal(ok, err)
	}
	completions := func() map[string]events.Status {
		found := map[string]events.Status{}
		err := l.bus.Subjects(ctx, l.subjects.EventsStream(), l.subjects.AllCompletions(), func(subject string) {
			p, _ := l.subjects.Parse(subject)
			found[p.Token] = p.Status
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	now := time.Now()
	for _, at := range []time.Time{now, now.Add(30 * time.Second), now.Add(59 * time.Second)} {
		if err := w.sweep(ctx, at); err != nil {
			t.Fatal(err)
		}
	}
	if got := completions(); len(got) != 0 {
		t.Errorf("expired too early: %v", got)
	}
	for range 2 { // the second sweep finds nothing to do
		if err := w.sweep(ctx, now.Add(2*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	got := completions()
	for i := range 20 {
		id := fmt.Sprintf("short-%d", i)
		if want := id != inHand.RequestID; (got[id] == events.StatusExpired) != want {
			t.Errorf("%s: completion %q, want it expired: %v", id, got[id], want)
		}
		delete(got, id)
	}
	if len(got) != 0 {
		t.Errorf("expired although their time had not come: %v", got)
	}
	_, ev, err := l.completion(ctx, "short-0")
	if err != nil || ev.Metadata["Tenant"] != "acme" || ev.Error == nil || ev.Error.Class != events.ErrorExpired {
		t.Errorf("got %+v, %v", ev, err)
	}
}
