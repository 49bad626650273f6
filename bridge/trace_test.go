package bridge_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestOneTrace follows a publisher's trace to the completion, over a callback to another replica and over a poll.
func TestOneTrace(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lose   bool
		source events.Source
		spans  []string // in the publisher's trace, beside those of other events
	}{
		"callback": {false, events.SourceCallback, []string{
			"process kling.request.{kind}", "HTTP POST", "send kling.progress.{kind}.{status}.{id}",
			"POST /callbacks/{kind}/{token}/{signature}", "send kling.completion.{kind}.{status}.{id}",
		}},
		"poll": {true, events.SourcePoll, []string{
			"process kling.request.{kind}", "HTTP POST", "send kling.progress.{kind}.{status}.{id}",
			"process kling-state.due.{kind}.{pool}.{id}", "send kling.completion.{kind}.{status}.{id}",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			exporter := tracetest.NewInMemoryExporter()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
			t.Cleanup(func() { _ = provider.Shutdown(context.WithoutCancel(t.Context())) })
			w := start(t, setup{
				sim: klingtest.Options{Faults: klingtest.Faults{Callback: func(klingtest.CallbackView) klingtest.CallbackFault {
					return klingtest.CallbackFault{Lose: c.lose}
				}}},
				bridge: bridge.Options{
					TracerProvider: provider, PollAfter: 200 * time.Millisecond, PollMinInterval: 100 * time.Millisecond,
				},
			})
			msg := nats.NewMsg("kling.request.text2video")
			msg.Header.Set("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
			msg.Header.Set("tracestate", "vendor=1")
			msg.Header.Set("baggage", "tenant=acme")
			msg.Header.Set(events.HeaderRequestID, "traced")
			msg.Header.Set(jetstream.MsgIDHeader, "sent-once")
			msg.Data = []byte(`{"prompt":"a"}`)
			if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
				t.Fatal(err)
			}
			if ev := w.await("traced"); ev.Source != c.source {
				t.Fatalf("completed by %s", ev.Source)
			}
			w.settledDown()
			for _, m := range w.stored("KLING_EVENTS", "kling.*.*.*.traced") {
				if got := m.Header.Get("traceparent"); !strings.HasPrefix(got, "00-4bf92f3577b34da6a3ce929d0e0e4736-") {
					t.Errorf("%s: traceparent %q", m.Subject, got)
				}
				if m.Header.Get("tracestate") != "vendor=1" || m.Header.Get("baggage") != "tenant=acme" {
					t.Errorf("%s: tracestate %q, baggage %q", m.Subject, m.Header.Get("tracestate"), m.Header.Get("baggage"))
				}
			}
			w.eventually("every span has ended in one connected trace", func() bool {
				return connected(exporter.GetSpans(), c.spans)
			})
			for _, s := range exporter.GetSpans() {
				told := slices.ContainsFunc(s.Attributes, func(a attribute.KeyValue) bool {
					return a.Key == "kling.queue.time" && a.Value.AsFloat64() >= 0
				})
				if told != (s.Name == c.spans[0]) {
					t.Errorf("span %s has a queue time: %t", s.Name, told)
				}
				for key, want := range conventions[s.Name] {
					if got := valueOf(s, key); got != want {
						t.Errorf("span %s: %s is %q, want %q", s.Name, key, got, want)
					}
				}
			}
		})
	}
}

// conventions are attributes by OpenTelemetry's conventions, by the span. What proves a callback is not among them.
var conventions = map[string]map[attribute.Key]string{
	"process kling.request.{kind}": {
		"messaging.consumer.group.name": "video-v1-normal", "messaging.message.id": "sent-once",
		"messaging.destination.name": "kling.request.text2video",
	},
	"process kling-state.due.{kind}.{pool}.{id}": {"messaging.consumer.group.name": "polls"},
	"send kling.completion.{kind}.{status}.{id}": {"messaging.message.id": "traced.completion"},
	"POST /callbacks/{kind}/{token}/{signature}": {"url.scheme": "http", "url.path": "/callbacks/text2video/traced/REDACTED"},
}

func valueOf(s tracetest.SpanStub, key attribute.Key) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			return a.Value.AsString()
		}
	}
	return ""
}

// connected reports whether all spans of these names are in the publisher's trace, each below another of it.
func connected(spans tracetest.SpanStubs, names []string) bool {
	const remoteParent = "00f067aa0ba902b7"
	ids := map[trace.SpanID]bool{}
	for _, s := range spans {
		ids[s.SpanContext.SpanID()] = true
	}
	found := map[string]bool{}
	for _, s := range spans {
		if s.SpanContext.TraceID().String() != "4bf92f3577b34da6a3ce929d0e0e4736" {
			continue
		}
		if s.Parent.SpanID().String() != remoteParent && !ids[s.Parent.SpanID()] {
			return false
		}
		found[s.Name] = true
	}
	for _, name := range names {
		if !found[name] {
			return false
		}
	}
	return true
}
