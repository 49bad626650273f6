package bridge

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/events"
)

const instrumentationName = "github.com/klingbridge/klingbridge/bridge"

// Attributes of spans of our own, beside those of the semantic conventions.
const (
	keyRequestID = attribute.Key("kling.request.id")
	keyKind      = attribute.Key("kling.kind")
	keyTaskID    = attribute.Key("kling.task.id")
	keyStatus    = attribute.Key("kling.status")
)

// telemetry makes the spans of a request's life, which is one trace: it begins with the publisher's
// context, the record carries it over hours and replicas, and every event passes it on.
type telemetry struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator // of records: the trace of a request's life is the bridge's own affair
	headers    propagation.TextMapPropagator // of requests and events
}

// newTelemetry takes the propagator of headers; nil: that of records, which is W3C's.
func newTelemetry(provider trace.TracerProvider, headers propagation.TextMapPropagator) *telemetry {
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	if headers == nil {
		headers = w3c
	}
	return &telemetry{
		tracer:     provider.Tracer(instrumentationName),
		propagator: w3c,
		headers:    headers,
	}
}

// inject puts ctx's trace context into a message's headers.
func (t *telemetry) inject(ctx context.Context, h nats.Header) {
	t.headers.Inject(ctx, events.HeaderCarrier(h))
}

// extract returns ctx in the trace that a message's headers tell.
func (t *telemetry) extract(ctx context.Context, h nats.Header) context.Context {
	return t.headers.Extract(ctx, events.HeaderCarrier(h))
}

// carry returns ctx's trace context in the form a record stores.
func (t *telemetry) carry(ctx context.Context) traceContext {
	var carrier traceContext
	t.propagator.Inject(ctx, &carrier)
	return carrier
}

// carryHeaders is carry for the context in a message's headers.
func (t *telemetry) carryHeaders(h nats.Header) traceContext {
	return t.carry(t.extract(context.Background(), h))
}

// resume returns a context in the trace of a record.
func (t *telemetry) resume(ctx context.Context, of *traceContext) context.Context {
	return t.propagator.Extract(ctx, of)
}
