package telemetry

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Start begins a span. Its attributes are made only where it is recorded, which most are not: making them costs more
// than all else about a span. Samplers don't see them.
func (t *Tracer) Start(
	ctx context.Context, name string, kind trace.SpanKind, attrs func() []attribute.KeyValue, options ...trace.SpanStartOption,
) (context.Context, trace.Span) {
	ctx, span := t.tracer.Start(ctx, name, append(options, trace.WithSpanKind(kind))...)
	if span.IsRecording() {
		span.SetAttributes(attrs()...)
	}
	return ctx, span
}

// Quiet reports whether nobody would get a span that begins in ctx, and what is told by it anyway, the trace, is in ctx already.
func (t *Tracer) Quiet(ctx context.Context) bool {
	return t.unexported && trace.SpanContextFromContext(ctx).IsValid()
}

// Processing are the attributes of work on a stored message about a task.
func Processing(template, requestID, kind, taskID string) []attribute.KeyValue {
	return append(Messaging(semconv.MessagingOperationTypeProcess, "process", template),
		KeyRequestID.String(requestID), KeyKind.String(kind), keyTaskID.String(taskID))
}

// Messaging are the attributes of every span about a message.
func Messaging(operation attribute.KeyValue, name, template string) []attribute.KeyValue {
	return []attribute.KeyValue{
		semconv.MessagingSystemKey.String("nats"), operation, semconv.MessagingOperationName(name),
		semconv.MessagingDestinationTemplate(template),
	}
}

// Delivered are the attributes of a stored message as a consumer gave it: the consumer, and the message's id where it has one.
func Delivered(msg jetstream.Msg) []attribute.KeyValue {
	var attrs []attribute.KeyValue
	if meta, err := msg.Metadata(); err == nil {
		attrs = append(attrs, semconv.MessagingConsumerGroupName(meta.Consumer))
	}
	if id := msg.Headers().Get(jetstream.MsgIDHeader); id != "" {
		attrs = append(attrs, semconv.MessagingMessageID(id))
	}
	return attrs
}

// EndSpan ends a span, with what went wrong in it.
func EndSpan(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
	}
	span.End()
}
