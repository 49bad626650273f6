package dispatch

import (
	"context"
	"log/slog"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// Metrics count the requests that are taken in, and show slots and what waits for them.
type Metrics struct {
	meter    *telemetry.Meter
	requests *telemetry.Counter[kindLane]

	used    metric.Int64ObservableGauge
	limit   metric.Int64ObservableGauge
	bound   metric.Int64ObservableGauge
	waiting metric.Int64ObservableGauge
	age     metric.Float64ObservableGauge
}

type kindLane struct {
	kind     string
	priority events.Priority
}

// NewMetrics makes the instruments of requests and slots.
func NewMetrics(m *telemetry.Meter) *Metrics {
	return &Metrics{
		meter: m,
		requests: telemetry.NewCounter(m, "kling.requests", "{request}", "Requests taken in.", func(l kindLane) []attribute.KeyValue {
			return []attribute.KeyValue{
				attribute.String(telemetry.AttrPriority, telemetry.PriorityName(l.priority)), attribute.String(telemetry.AttrKind, l.kind),
			}
		}),
		used:    m.Gauge("kling.slots.used", "{slot}", "Slots taken by tasks in flight and create calls under way, of all replicas."),
		limit:   m.Gauge("kling.slots.limit", "{slot}", "Slots there are, as learned from Kling's refusals; absent until the first."),
		bound:   m.Gauge("kling.slots.cap", "{slot}", "Upper bound set by BRIDGE_CONCURRENCY, or of an account by its own variable; absent where there is none."),
		waiting: m.Gauge("kling.waiting.requests", "{request}", "Requests stored that are no task yet, of all replicas."),
		age: m.SecondsGauge("kling.waiting.age",
			"Age of the oldest request that is no task yet, of all replicas; 0 when there is none."),
	}
}

// Show shows slots and waiting requests until the registration is ended.
func (m *Metrics) Show(pools map[kling.Pool]*Pool, waiting *BacklogReader) (metric.Registration, error) {
	return m.meter.Observe(func(ctx context.Context, o metric.Observer) error {
		for name, pool := range pools {
			for _, share := range pool.all {
				m.showSlots(o, pool.plain(), name, share)
			}
			if pool.bound > 0 { // of all accounts together: it names none
				o.ObserveInt64(m.bound, int64(pool.bound), metric.WithAttributes(attribute.String(telemetry.AttrPool, string(name))))
			}
		}
		if b, ok := waiting.get(ctx); ok {
			for lane, n := range b.waiting {
				o.ObserveInt64(m.waiting, n, metric.WithAttributes(
					attribute.String(telemetry.AttrPool, string(lane.pool)), attribute.String(telemetry.AttrPriority, telemetry.PriorityName(lane.priority))))
			}
			o.ObserveFloat64(m.age, b.age())
		}
		return nil
	}, m.used, m.limit, m.bound, m.waiting, m.age)
}

// showSlots names the account only where there is one to tell it from.
func (m *Metrics) showSlots(o metric.Observer, plain bool, name kling.Pool, share *Share) {
	labels := []attribute.KeyValue{attribute.String(telemetry.AttrPool, string(name))}
	if !plain {
		labels = append(labels, attribute.String(telemetry.AttrAccount, share.Account))
	}
	attrs := metric.WithAttributes(labels...)
	used, limit, bound := share.Slots.Measure()
	o.ObserveInt64(m.used, int64(used), attrs)
	if limit != UnknownLimit {
		o.ObserveInt64(m.limit, int64(limit), attrs)
	}
	if bound > 0 {
		o.ObserveInt64(m.bound, int64(bound), attrs)
	}
}

// received notes a request that was delivered for the first time.
func (in *Intake) received(ctx context.Context, r *request.Request) {
	in.Metrics.requests.Add(kindLane{r.Kind.Name, r.Priority}, 1)
	in.Log.LogAttrs(ctx, slog.LevelDebug, "received", slog.String("request_id", r.ID), slog.String("kind", r.Kind.Name),
		slog.String("pool", string(r.Kind.Pool)))
}

// span begins the span of one delivery of a request.
func (in *Intake) span(ctx context.Context, msg jetstream.Msg, r *request.Request) (context.Context, trace.Span) {
	template := in.Subjects.Request("{kind}", events.PriorityNormal)
	ctx = in.Telemetry.Extract(ctx, msg.Headers())
	return in.Telemetry.Start(ctx, "process "+template, trace.SpanKindConsumer, func() []attribute.KeyValue {
		attrs := append(telemetry.Messaging(semconv.MessagingOperationTypeProcess, "process", template), telemetry.Delivered(msg)...)
		return append(attrs,
			semconv.MessagingDestinationName(in.Subjects.Request(r.Kind.Name, r.Priority)),
			telemetry.KeyRequestID.String(r.ID),
			telemetry.KeyKind.String(r.Kind.Name),
		)
	})
}
