package maintenance

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// ledgerWithRequests returns a ledger on streams of requests, events and dead letters.
func ledgerWithRequests(t *testing.T, url string) *store.Store {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	conn, err := bus.Open(t.Context(), bus.Options{URL: url, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	s, kinds, meter := subjects.Default(), kling.DefaultKinds(), telemetry.NewMeter(noopmetric.NewMeterProvider())
	for _, config := range []jetstream.StreamConfig{
		request.StreamConfig(s, kinds, conn.MaxPayload()), store.EventsStream(s, time.Hour), store.DeadStream(s, time.Hour),
	} {
		if err := conn.EnsureStream(t.Context(), config, ""); err != nil {
			t.Fatal(err)
		}
	}
	m := store.NewMetrics(meter, kinds)
	return &store.Store{
		Bus: conn, Subjects: s, Kinds: kinds, Retention: time.Hour, Telemetry: telemetry.New(noop.NewTracerProvider(), nil),
		Metrics: m, Dead: store.NewDeadLetters(conn, s, m, quiet), Log: quiet,
	}
}

// TestRequestsExpireInTheStream lets deadlines pass while nobody takes requests off the stream.
func TestRequestsExpireInTheStream(t *testing.T) {
	srv := bustest.Start(t)
	l := ledgerWithRequests(t, srv.URL())
	ctx := t.Context()
	publish := func(id, timeout string) {
		msg := nats.NewMsg("kling.request.text2video")
		msg.Header.Set(events.HeaderRequestID, id)
		msg.Header.Set(events.HeaderTimeout, timeout)
		msg.Header.Set("Kling-Meta-Tenant", "acme")
		msg.Data = []byte(`{"prompt":"a"}`)
		if _, err := l.Bus.JetStream().PublishMsg(ctx, msg); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		publish(fmt.Sprintf("short-%d", i), "60")
		publish(fmt.Sprintf("long-%d", i), "6h")
	}
	stream := request.NewStream(l.Bus, l.Subjects, l.Kinds, request.Defaults{Timeout: time.Hour})
	w := &Expirer{Stream: stream, Store: l, Log: slog.New(slog.DiscardHandler)}
	inHand := &store.Record{ // another replica has just begun with this one
		Version: store.Version, RequestID: "short-7", Kind: "text2video", State: store.StateCreating, RequestedAt: time.Now(),
		Deadline: time.Now().Add(time.Hour),
	}
	if _, ok, err := l.Intend(ctx, inHand, time.Now().Add(time.Hour)); err != nil || !ok {
		t.Fatal(ok, err)
	}
	completions := func() map[string]events.Status {
		found := map[string]events.Status{}
		err := l.Bus.Subjects(ctx, l.Subjects.EventsStream(), l.Subjects.AllCompletions(), func(subject string) {
			p, _ := l.Subjects.Parse(subject)
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
	_, ev, err := l.Completion(ctx, "short-0")
	if err != nil || ev.Metadata["Tenant"] != "acme" || ev.Error == nil || ev.Error.Class != events.ErrorExpired {
		t.Errorf("got %+v, %v", ev, err)
	}
}
