package bridge_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/events"
)

// TestHeadersOfTracesAreChosen has a bridge pass on less than the W3C context of a request, as OTEL_PROPAGATORS may say.
func TestHeadersOfTracesAreChosen(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		propagator     propagation.TextMapPropagator
		trace, baggage bool
	}{
		"nothing is said":    {nil, true, true},
		"trace context only": {propagation.TraceContext{}, true, false},
		"none":               {propagation.NewCompositeTextMapPropagator(), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := start(t, setup{bridge: bridge.Options{Propagator: test.propagator}})
			msg := nats.NewMsg("kling.request.text2video")
			msg.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
			msg.Header.Set("baggage", "tenant=acme")
			msg.Header.Set(events.HeaderRequestID, "traced")
			msg.Data = []byte(`{"prompt":"a"}`)
			if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
				t.Fatal(err)
			}
			w.await("traced")
			for _, m := range w.stored("KLING_EVENTS", "kling.*.*.*.traced") {
				traced := strings.Contains(m.Header.Get("traceparent"), "4bf92f3577b34da6a3ce929d0e0e4736")
				if traced != test.trace || m.Header.Get("baggage") == "tenant=acme" != test.baggage {
					t.Errorf("%s: headers %v", m.Subject, m.Header)
				}
			}
		})
	}
}
