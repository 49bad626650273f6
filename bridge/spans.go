package bridge

import (
	"context"
	"net/http"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/events"
)

// startRequest begins the span of one delivery of a request.
func (t *telemetry) startRequest(ctx context.Context, s events.Subjects, h nats.Header, r *request) (context.Context, trace.Span) {
	ctx = t.headers.Extract(ctx, events.HeaderCarrier(h))
	template := s.Request("{kind}", events.PriorityNormal)
	return t.start(ctx, "process "+template, trace.SpanKindConsumer, func() []attribute.KeyValue {
		return append(messaging(semconv.MessagingOperationTypeProcess, "process", template),
			semconv.MessagingDestinationName(s.Request(r.kind.Name, r.priority)),
			semconv.MessagingConsumerGroupName(s.RequestsStream()),
			keyRequestID.String(r.id),
			keyKind.String(r.kind.Name),
		)
	})
}

// startCallback begins the server span of a callback. Its parent is the request's trace, known only once the body was
// read: what the caller claims in its own headers counts for nothing.
func (t *telemetry) startCallback(ctx context.Context, rec *record, method string, began time.Time) (context.Context, trace.Span) {
	attrs := func() []attribute.KeyValue {
		return []attribute.KeyValue{
			semconv.HTTPRequestMethodKey.String(method),
			semconv.HTTPRoute(callbackRoute),
			keyRequestID.String(rec.RequestID),
			keyKind.String(rec.Kind),
		}
	}
	return t.start(t.resume(ctx, rec), method+" "+callbackRoute, trace.SpanKindServer, attrs, trace.WithTimestamp(began))
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

// startQuery begins the span of a poll's calls to Kling. One call may serve the tasks of many traces, so it is a trace
// of its own, and each task's part links to it.
func (t *telemetry) startQuery(ctx context.Context, kind string, tasks int) (context.Context, trace.Span) {
	attrs := func() []attribute.KeyValue {
		return []attribute.KeyValue{keyKind.String(kind), semconv.MessagingBatchMessageCount(tasks)}
	}
	return t.start(ctx, "query", trace.SpanKindInternal, attrs, trace.WithNewRoot())
}

// startPoll begins the span of one task's part in a poll, linked to the call that may have served many.
func (t *telemetry) startPoll(ctx context.Context, s events.Subjects, rec *record) (context.Context, trace.Span) {
	link := trace.LinkFromContext(ctx)
	template := s.Due("{kind}", "{pool}", "{id}")
	attrs := func() []attribute.KeyValue { return processing(template, rec) }
	return t.start(t.resume(ctx, rec), "process "+template, trace.SpanKindConsumer, attrs, trace.WithLinks(link))
}

// startArchive begins the span of one try to archive a result.
func (t *telemetry) startArchive(ctx context.Context, s events.Subjects, rec *record) (context.Context, trace.Span) {
	template := s.Completion("{kind}", events.StatusSucceed, "{id}")
	attrs := func() []attribute.KeyValue { return processing(template, rec) }
	return t.start(t.resume(ctx, rec), "process "+template, trace.SpanKindConsumer, attrs)
}

// startSend begins the span of publishing an event.
func (t *telemetry) startSend(ctx context.Context, s events.Subjects, subject string, rec *record, msgID string) (context.Context, trace.Span) {
	p, _ := s.Parse(subject)
	template := s.Prefix() + "." + p.Type + ".{kind}.{status}.{id}"
	return t.start(ctx, "send "+template, trace.SpanKindProducer, func() []attribute.KeyValue {
		return append(messaging(semconv.MessagingOperationTypeSend, "send", template),
			semconv.MessagingDestinationName(subject),
			semconv.MessagingMessageID(msgID),
			keyRequestID.String(rec.RequestID),
			keyKind.String(rec.Kind),
			keyStatus.String(string(p.Status)),
		)
	})
}

// start begins a span. Its attributes are made only where it is recorded, which most are not: making them costs more
// than all else about a span. Samplers don't see them.
func (t *telemetry) start(
	ctx context.Context, name string, kind trace.SpanKind, attrs func() []attribute.KeyValue, options ...trace.SpanStartOption,
) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, name, append(options, trace.WithSpanKind(kind))...)
	if span.IsRecording() {
		span.SetAttributes(attrs()...)
	}
	return ctx, span
}

// processing are the attributes of work on a stored message about a task.
func processing(template string, rec *record) []attribute.KeyValue {
	return append(messaging(semconv.MessagingOperationTypeProcess, "process", template),
		keyRequestID.String(rec.RequestID), keyKind.String(rec.Kind), keyTaskID.String(rec.TaskID))
}

// messaging are the attributes of every span about a message.
func messaging(operation attribute.KeyValue, name, template string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String("nats"), operation, semconv.MessagingOperationName(name),
		semconv.MessagingDestinationTemplate(template),
	}
}

func endSpan(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
