package call

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// Metrics count the calls that were asked for.
type Metrics struct {
	answers metric.Int64Counter
	byCode  *telemetry.Series[callCode]
}

type callCode struct {
	call string
	code int
}

// NewMetrics makes the instruments of calls that answer at once.
func NewMetrics(m *telemetry.Meter) *Metrics {
	metrics := &Metrics{
		answers: m.Count("kling.call.answers", "{answer}", "Calls asked for on kling.call, by the code of their answer; 200: Kling's data."),
		byCode: telemetry.NewSeries(func(c callCode) []attribute.KeyValue {
			return []attribute.KeyValue{
				attribute.String(telemetry.AttrCall, c.call), attribute.String(telemetry.AttrCode, strconv.Itoa(c.code)),
			}
		}),
	}
	for _, call := range kling.SyncCalls() {
		metrics.answers.Add(context.Background(), 0, metrics.byCode.Of(callCode{call.Name, http.StatusOK}))
	}
	return metrics
}

func (m *Metrics) answered(ctx context.Context, call string, code int) {
	m.answers.Add(ctx, 1, m.byCode.Of(callCode{call, code}))
}

// keyCall names a call in spans.
const keyCall = attribute.Key("kling.call")

// startSpan begins the span of a call, in the trace that its headers tell.
func (c *Caller) startSpan(ctx context.Context, q question) (context.Context, trace.Span) {
	template := c.Subjects.Call("{name}")
	attrs := func() []attribute.KeyValue {
		return append(telemetry.Messaging(semconv.MessagingOperationTypeProcess, "process", template), keyCall.String(q.call.Name))
	}
	return c.Telemetry.Start(c.Telemetry.Extract(ctx, q.header), "process "+template, trace.SpanKindServer, attrs)
}

// note counts and logs an answered call.
func (c *Caller) note(ctx context.Context, q question, code int, err error) {
	c.Metrics.answered(ctx, q.call.Name, code)
	attrs := []slog.Attr{
		slog.String("call", q.call.Name), slog.Int("code", code), slog.Duration("took", time.Since(q.began)),
	}
	level := slog.LevelInfo
	if err != nil {
		level, attrs = slog.LevelWarn, append(attrs, slog.Any("err", err))
	}
	c.Log.LogAttrs(ctx, level, "call answered", attrs...)
}
