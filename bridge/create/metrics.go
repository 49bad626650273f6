package create

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// Metrics count tasks and time how long their requests have waited.
type Metrics struct {
	tasks    *telemetry.Counter[accountKind]
	duration metric.Float64Histogram
	handover metric.Float64Histogram
	byPool   *telemetry.Series[kling.Pool]
	byLane   *telemetry.Series[poolLane]
}

type poolLane struct {
	pool     kling.Pool
	priority events.Priority
}

// NewMetrics makes the instruments of creating tasks.
func NewMetrics(m *telemetry.Meter) *Metrics {
	buckets := []float64{.1, .25, .5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 6 * 3600, 24 * 3600}
	short := []float64{.0005, .001, .002, .003, .005, .01, .02, .05, .1, .25, .5, 1}
	return &Metrics{
		handover: m.Seconds("kling.slot.handover.duration", "From a slot being freed to the create call of a request that has waited for it.", short),
		byPool:   telemetry.NewSeries(telemetry.One[kling.Pool](telemetry.AttrPool)),
		duration: m.Seconds("kling.submit.duration", "From a request being stored to its task being created.", buckets),
		tasks: telemetry.NewCounter(m, "kling.tasks", "{task}", "Tasks created at Kling.", func(k accountKind) []attribute.KeyValue {
			attrs := []attribute.KeyValue{attribute.String(telemetry.AttrKind, k.kind)}
			if k.account != "" {
				attrs = append(attrs, attribute.String(telemetry.AttrAccount, k.account))
			}
			return attrs
		}),
		byLane: telemetry.NewSeries(func(l poolLane) []attribute.KeyValue {
			return []attribute.KeyValue{
				attribute.String(telemetry.AttrPriority, telemetry.PriorityName(l.priority)), attribute.String(telemetry.AttrPool, string(l.pool)),
			}
		}),
	}
}

// handedOver notes how long the slots were free that a request has waited for.
func (c *Creator) handedOver(ctx context.Context, j *attempt) {
	if freed := j.Freed(); !freed.IsZero() {
		c.Metrics.handover.Record(ctx, j.sentAt.Sub(freed).Seconds(), c.Metrics.byPool.Of(j.Req.Kind.Pool))
	}
}

// created notes a task that Kling has taken.
func (c *Creator) created(ctx context.Context, r *request.Request, rec *store.Record) {
	of := accountKind{kind: rec.Kind}
	if !c.Accounts.Plain() {
		of.account = rec.Account
	}
	c.Metrics.tasks.Add(of, 1)
	c.Metrics.duration.Record(ctx, telemetry.SinceSeconds(rec.RequestedAt), c.Metrics.byLane.Records(poolLane{r.Kind.Pool, r.Priority})...)
	telemetry.Line(ctx, c.Log, slog.LevelInfo, "submitted", slog.String("request_id", rec.RequestID), slog.String("kind", rec.Kind),
		slog.String("task_id", rec.TaskID), slog.String("account", rec.Account), slog.String("pool", string(r.Kind.Pool)))
}
