package events

import (
	"context"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// tracerName is the instrumentation scope of this package.
const tracerName = "github.com/klingbridge/klingbridge/events"

// sendSpan begins the span of submitting a request. The program's global provider decides whether it is recorded.
func (c *Client) sendSpan(ctx context.Context, kind string, msg *nats.Msg) (context.Context, trace.Span) {
	template := c.subjects.Request("{kind}", PriorityNormal)
	ctx, span := otel.Tracer(tracerName).Start(ctx, "send "+template, trace.WithSpanKind(trace.SpanKindProducer))
	if span.IsRecording() {
		span.SetAttributes(
			semconv.MessagingSystemKey.String("nats"), semconv.MessagingOperationTypeSend, semconv.MessagingOperationName("send"),
			semconv.MessagingDestinationTemplate(template), semconv.MessagingDestinationName(msg.Subject),
			semconv.MessagingMessageID(msg.Header.Get(jetstream.MsgIDHeader)),
			attribute.String("kling.request.id", msg.Header.Get(HeaderRequestID)), attribute.String("kling.kind", kind),
		)
	}
	return ctx, span
}
