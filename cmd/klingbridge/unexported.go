package main

import (
	"context"
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// unexported provides traces where nothing exports them. What has a trace keeps it as it came, with the decision whether
// it is sampled, so that those who do export see one trace; what has none begins one, which is not sampled: events carry
// a traceparent in any case. The SDK would do as much, at several times the cost of what a callback needs otherwise.
type unexported struct{ noop.TracerProvider }

// Unexported implements [telemetry.Unexported].
func (unexported) Unexported() {}

// Tracer implements [trace.TracerProvider].
func (unexported) Tracer(string, ...trace.TracerOption) trace.Tracer { return unexportedTracer{} }

type unexportedTracer struct{ noop.Tracer }

// Start implements [trace.Tracer].
func (unexportedTracer) Start(ctx context.Context, _ string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	config := trace.NewSpanStartConfig(options...)
	if config.NewRoot() || !trace.SpanContextFromContext(ctx).IsValid() {
		ctx = trace.ContextWithSpanContext(ctx, newSpanContext())
	}
	return ctx, trace.SpanFromContext(ctx)
}

// newSpanContext makes up ids, which are never zero.
func newSpanContext() trace.SpanContext {
	var c trace.SpanContextConfig
	binary.BigEndian.PutUint64(c.TraceID[:8], rand.Uint64())
	binary.BigEndian.PutUint64(c.TraceID[8:], rand.Uint64()|1)
	binary.BigEndian.PutUint64(c.SpanID[:], rand.Uint64()|1)
	return trace.NewSpanContext(c)
}
