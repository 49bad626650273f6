package telemetry

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/events"
)

const instrumentationName = "github.com/klingbridge/klingbridge/bridge"

// Attributes of spans of our own, beside those of the semantic conventions.
const (
	KeyRequestID = attribute.Key("kling.request.id")
	KeyKind      = attribute.Key("kling.kind")
	keyTaskID    = attribute.Key("kling.task.id")
	KeyAccount   = attribute.Key("kling.account")
	KeyStatus    = attribute.Key("kling.status")
	// KeyQueueTime is how long a request waited, in seconds, from when it was stored until its first create call.
	KeyQueueTime = attribute.Key("kling.queue.time")
)

// Tracer makes the spans of a request's life, which is one trace: it begins with the publisher's
// context, the record carries it over hours and replicas, and every event passes it on.
type Tracer struct {
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator // of records: the trace of a request's life is the bridge's own affair
	headers    propagation.TextMapPropagator // of requests and events
	unexported bool                          // nobody gets the spans
}

// Unexported is implemented by providers whose spans nobody gets, and that begin none where there is a trace to pass on.
type Unexported interface{ Unexported() }

// New takes the propagator of headers; nil: that of records, which is W3C's.
func New(provider trace.TracerProvider, headers propagation.TextMapPropagator) *Tracer {
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	if headers == nil {
		headers = w3c
	}
	unexported := provider == trace.TracerProvider(noop.TracerProvider{})
	if !unexported {
		_, unexported = provider.(Unexported)
	}
	return &Tracer{
		unexported: unexported,
		tracer:     provider.Tracer(instrumentationName),
		propagator: w3c,
		headers:    headers,
	}
}

// Inject puts ctx's trace context into a message's headers.
func (t *Tracer) Inject(ctx context.Context, into propagation.TextMapCarrier) {
	t.headers.Inject(ctx, into)
}

// Extract returns ctx in the trace that a message's headers tell.
func (t *Tracer) Extract(ctx context.Context, h nats.Header) context.Context {
	return t.headers.Extract(ctx, events.HeaderCarrier(h))
}

// Carry returns ctx's trace context in the form a record stores.
func (t *Tracer) Carry(ctx context.Context) Trace {
	var carrier Trace
	t.propagator.Inject(ctx, &carrier)
	return carrier
}

// CarryHeaders is carry for the context in a message's headers.
func (t *Tracer) CarryHeaders(h nats.Header) Trace {
	return t.Carry(t.Extract(context.Background(), h))
}

// Resume returns a context in the trace of a record.
func (t *Tracer) Resume(ctx context.Context, of *Trace) context.Context {
	return t.propagator.Extract(ctx, of)
}
