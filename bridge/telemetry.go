package bridge

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

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

var messagingSystem = semconv.MessagingSystemKey.String("nats")

// telemetry notes what happens, as metrics and in the log, and makes the spans of a request's life, which is one trace: it begins with the publisher's context, the record
// carries it over hours and replicas, and every event passes it on.
type telemetry struct {
	log        *slog.Logger
	tracer     trace.Tracer
	propagator propagation.TextMapPropagator
	metrics    *metrics
}

func newTelemetry(log *slog.Logger, provider trace.TracerProvider, m *metrics) *telemetry {
	return &telemetry{
		log:        log,
		metrics:    m,
		tracer:     provider.Tracer(instrumentationName),
		propagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}),
	}
}

func (t *telemetry) inject(ctx context.Context, h nats.Header) {
	t.propagator.Inject(ctx, events.HeaderCarrier(h))
}

// carry returns ctx's trace context in the form a record stores.
func (t *telemetry) carry(ctx context.Context) map[string]string {
	carrier := propagation.MapCarrier{}
	t.propagator.Inject(ctx, carrier)
	return carrier
}

// carryHeaders is carry for the context in a message's headers.
func (t *telemetry) carryHeaders(h nats.Header) map[string]string {
	return t.carry(t.propagator.Extract(context.Background(), events.HeaderCarrier(h)))
}

// resume returns a context in the trace of a record.
func (t *telemetry) resume(ctx context.Context, rec *record) context.Context {
	return t.propagator.Extract(ctx, propagation.MapCarrier(rec.Trace))
}

// startRequest begins the span of one delivery of a request.
func (t *telemetry) startRequest(ctx context.Context, s events.Subjects, h nats.Header, r *request) (context.Context, trace.Span) {
	ctx = t.propagator.Extract(ctx, events.HeaderCarrier(h))
	return t.tracer.Start(ctx, "process "+s.Request("{kind}", events.PriorityNormal),
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			messagingSystem,
			semconv.MessagingOperationTypeProcess,
			semconv.MessagingOperationName("process"),
			semconv.MessagingDestinationName(s.Request(r.kind.Name, r.priority)),
			semconv.MessagingDestinationTemplate(s.Request("{kind}", events.PriorityNormal)),
			semconv.MessagingConsumerGroupName(s.RequestsStream()),
			keyRequestID.String(r.id),
			keyKind.String(r.kind.Name),
		))
}

// startCallback begins the server span of a callback. Its parent is the request's trace, known only once the body was
// read: what the caller claims in its own headers counts for nothing.
func (t *telemetry) startCallback(ctx context.Context, rec *record, method string, began time.Time) (context.Context, trace.Span) {
	return t.tracer.Start(t.resume(ctx, rec), method+" "+callbackRoute,
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithTimestamp(began),
		trace.WithAttributes(
			semconv.HTTPRequestMethodKey.String(method),
			semconv.HTTPRoute(callbackRoute),
			keyRequestID.String(rec.RequestID),
			keyKind.String(rec.Kind),
		))
}

func endCallback(span trace.Span, status int) {
	span.SetAttributes(semconv.HTTPResponseStatusCode(status))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
	span.End()
}

// startQuery begins the span of a poll's calls to Kling. One call may serve the tasks of many traces, so it is a trace
// of its own, and each task's part links to it.
func (t *telemetry) startQuery(ctx context.Context, kind string, tasks int) (context.Context, trace.Span) {
	return t.tracer.Start(ctx, "query", trace.WithNewRoot(),
		trace.WithAttributes(keyKind.String(kind), semconv.MessagingBatchMessageCount(tasks)))
}

// startPoll begins the span of one task's part in a poll, linked to the call that may have served many.
func (t *telemetry) startPoll(ctx context.Context, s events.Subjects, rec *record) (context.Context, trace.Span) {
	link := trace.LinkFromContext(ctx)
	return t.tracer.Start(t.resume(ctx, rec), "process "+s.Due("{kind}", "{pool}", "{id}"),
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithLinks(link),
		trace.WithAttributes(
			messagingSystem,
			semconv.MessagingOperationTypeProcess,
			semconv.MessagingOperationName("process"),
			semconv.MessagingDestinationTemplate(s.Due("{kind}", "{pool}", "{id}")),
			keyRequestID.String(rec.RequestID),
			keyKind.String(rec.Kind),
			keyTaskID.String(rec.TaskID),
		))
}

// startArchive begins the span of one try to archive a result.
func (t *telemetry) startArchive(ctx context.Context, s events.Subjects, rec *record) (context.Context, trace.Span) {
	template := s.Completion("{kind}", events.StatusSucceed, "{id}")
	return t.tracer.Start(t.resume(ctx, rec), "process "+template,
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			messagingSystem,
			semconv.MessagingOperationTypeProcess,
			semconv.MessagingOperationName("process"),
			semconv.MessagingDestinationTemplate(template),
			keyRequestID.String(rec.RequestID),
			keyKind.String(rec.Kind),
			keyTaskID.String(rec.TaskID),
		))
}

// startSend begins the span of publishing an event.
func (t *telemetry) startSend(ctx context.Context, s events.Subjects, subject string, rec *record, msgID string) (context.Context, trace.Span) {
	p, _ := s.Parse(subject)
	template := s.Prefix() + "." + p.Type + ".{kind}.{status}.{id}"
	return t.tracer.Start(ctx, "send "+template,
		trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(
			messagingSystem,
			semconv.MessagingOperationTypeSend,
			semconv.MessagingOperationName("send"),
			semconv.MessagingDestinationName(subject),
			semconv.MessagingDestinationTemplate(template),
			semconv.MessagingMessageID(msgID),
			keyRequestID.String(rec.RequestID),
			keyKind.String(rec.Kind),
			keyStatus.String(string(p.Status)),
		))
}

func endSpan(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
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

func eventAttrs(ev *events.Event) []slog.Attr {
	return []slog.Attr{
		slog.String("request_id", ev.RequestID), slog.String("kind", ev.Kind), slog.String("task_id", ev.TaskID),
		slog.String("status", string(ev.Status)), slog.String("source", string(ev.Source)),
	}
}
