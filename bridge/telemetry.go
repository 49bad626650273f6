package bridge

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

const instrumentationName = "github.com/klingbridge/klingbridge/bridge"

// Attributes of our own, beside those of the semantic conventions.
const (
	keyRequestID = attribute.Key("kling.request.id")
	keyKind      = attribute.Key("kling.kind")
	keyTaskID    = attribute.Key("kling.task.id")
	keyStatus    = attribute.Key("kling.status")
)

// telemetry notes what happens, as metrics and in the log, and makes the spans of a request's life (see spans.go), which
// is one trace: it begins with the publisher's context, the record carries it over hours and replicas, and every event
// passes it on.
type telemetry struct {
	log        *slog.Logger
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator // of records: the trace of a request's life is the bridge's own affair
	headers    propagation.TextMapPropagator // of requests and events
	metrics    *metrics
}

// newTelemetry takes the propagator of headers; nil: that of records, which is W3C's.
func newTelemetry(
	log *slog.Logger, provider trace.TracerProvider, headers propagation.TextMapPropagator, m *metrics,
) *telemetry {
	w3c := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	if headers == nil {
		headers = w3c
	}
	return &telemetry{
		log:        log,
		metrics:    m,
		tracer:     provider.Tracer(instrumentationName),
		propagator: w3c,
		headers:    headers,
	}
}

func (t *telemetry) inject(ctx context.Context, h nats.Header) {
	t.headers.Inject(ctx, events.HeaderCarrier(h))
}

// traceContext is a W3C context in the form a record stores. It is a [propagation.TextMapCarrier] of the fields that
// there are; a map takes three times the memory, in every record.
type traceContext struct {
	Traceparent string `json:"traceparent,omitempty"`
	Tracestate  string `json:"tracestate,omitempty"`
	Baggage     string `json:"baggage,omitempty"`
}

func (c *traceContext) field(key string) *string {
	switch key {
	case "traceparent":
		return &c.Traceparent
	case "tracestate":
		return &c.Tracestate
	case "baggage":
		return &c.Baggage
	default:
		return new(string)
	}
}

// Get implements [propagation.TextMapCarrier].
func (c *traceContext) Get(key string) string { return *c.field(key) }

// Set implements [propagation.TextMapCarrier].
func (c *traceContext) Set(key, value string) { *c.field(key) = value }

// Keys implements [propagation.TextMapCarrier].
func (c *traceContext) Keys() []string { return []string{"traceparent", "tracestate", "baggage"} }

// carry returns ctx's trace context in the form a record stores.
func (t *telemetry) carry(ctx context.Context) traceContext {
	var carrier traceContext
	t.propagator.Inject(ctx, &carrier)
	return carrier
}

// carryHeaders is carry for the context in a message's headers.
func (t *telemetry) carryHeaders(h nats.Header) traceContext {
	return t.carry(t.headers.Extract(context.Background(), events.HeaderCarrier(h)))
}

// resume returns a context in the trace of a record.
func (t *telemetry) resume(ctx context.Context, rec *record) context.Context {
	return t.propagator.Extract(ctx, &rec.Trace)
}

// received notes a request that was delivered for the first time.
func (t *telemetry) received(ctx context.Context, r *request) {
	t.metrics.received(ctx, r)
	t.log.DebugContext(ctx, "received", slog.String("request_id", r.id), slog.String("kind", r.kind.Name),
		slog.String("pool", string(r.kind.Pool)))
}

// submitted notes a task that Kling has taken.
func (t *telemetry) submitted(ctx context.Context, r *request, rec *record) {
	t.metrics.submitted(ctx, r, rec)
	t.log.InfoContext(ctx, "submitted", slog.String("request_id", rec.RequestID), slog.String("kind", rec.Kind),
		slog.String("task_id", rec.TaskID), slog.String("pool", string(r.kind.Pool)))
}

// completed notes the end of a request.
func (t *telemetry) completed(ctx context.Context, ev *events.Event) {
	t.metrics.completed(ctx, ev)
	attrs := append(eventAttrs(ev),
		slog.Duration("after", ev.CompletedAt.Sub(ev.RequestedAt.Time).Round(time.Millisecond)))
	if ev.Error != nil {
		attrs = append(attrs, slog.String("class", string(ev.Error.Class)), slog.String("err", ev.Error.Message))
	}
	t.log.LogAttrs(ctx, slog.LevelInfo, "completed", attrs...)
}

// late notes a result that came after its request had expired or was cancelled.
func (t *telemetry) late(ctx context.Context, ev *events.Event) {
	t.metrics.late(ctx, ev)
	t.log.LogAttrs(ctx, slog.LevelInfo, "late result", eventAttrs(ev)...)
}

// odd notes what of a task that has ended could not be read.
func (t *telemetry) odd(ctx context.Context, rec *record, task kling.Task) {
	if len(task.Odd) == 0 {
		return
	}
	t.metrics.oddFields.Add(ctx, int64(len(task.Odd)), t.metrics.byKind.of(rec.Kind))
	t.log.WarnContext(ctx, "odd fields of a task count as absent", slog.String("request_id", rec.RequestID),
		slog.String("kind", rec.Kind), slog.String("task_id", task.ID), slog.Any("fields", task.Odd))
}

func eventAttrs(ev *events.Event) []slog.Attr {
	return []slog.Attr{
		slog.String("request_id", ev.RequestID), slog.String("kind", ev.Kind), slog.String("task_id", ev.TaskID),
		slog.String("status", string(ev.Status)), slog.String("source", string(ev.Source)),
	}
}
