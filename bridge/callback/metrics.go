package callback

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// Metrics count callbacks and time those that are stored.
type Metrics struct {
	callbacks *telemetry.Counter[outcome]
	duration  metric.Float64Histogram
}

// NewMetrics shows every series from the start: a counter that appears at 1 has not increased.
func NewMetrics(m *telemetry.Meter) *Metrics {
	buckets := []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5}
	cm := &Metrics{
		callbacks: telemetry.NewCounter(m, "kling.callbacks", "{callback}", "Callbacks answered, by what they came to.",
			telemetry.One[outcome](telemetry.AttrOutcome)),
		duration: m.Seconds("kling.callback.duration", "From a callback's arrival to its event being stored.", buckets),
	}
	for _, o := range outcomes() {
		cm.callbacks.Add(o, 0)
	}
	return cm
}

func (m *Metrics) answered(ctx context.Context, o outcome, began time.Time) {
	m.callbacks.Add(o, 1)
	if o == outcomeStored {
		m.duration.Record(ctx, telemetry.SinceSeconds(began))
	}
}

// span begins the server span of a callback. Its parent is the request's trace, known only once the body was read: what
// the caller claims in its own headers counts for nothing.
func (lr *Live) span(ctx context.Context, rec *store.Record, cb callback) (context.Context, trace.Span) {
	t := lr.Store.Telemetry
	if ctx = t.Resume(ctx, &rec.Trace); t.Quiet(ctx) {
		return ctx, trace.SpanFromContext(ctx)
	}
	attrs := func() []attribute.KeyValue {
		return []attribute.KeyValue{
			semconv.HTTPRequestMethodKey.String(http.MethodPost),
			semconv.HTTPRoute(callbackRoute),
			semconv.URLScheme(lr.Signer.scheme()),
			semconv.URLPath(cb.path()),
			telemetry.KeyRequestID.String(rec.RequestID),
			telemetry.KeyKind.String(rec.Kind),
		}
	}
	return t.Start(ctx, http.MethodPost+" "+callbackRoute, trace.SpanKindServer, attrs, trace.WithTimestamp(cb.began))
}

func endCallback(span trace.Span, status int) {
	if span.IsRecording() {
		span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	}
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
	span.End()
}
