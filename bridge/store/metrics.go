package store

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// Metrics count how requests end, and what their tasks took.
type Metrics struct {
	completions *telemetry.Counter[endKey]
	lateResults metric.Int64Counter
	oddFields   *telemetry.Counter[string]
	deadLetters metric.Int64Counter
	retries     *telemetry.Counter[kindClass]
	units       *telemetry.Sum[string]
	duration    metric.Float64Histogram

	byKindStatus *telemetry.Series[kindStatus]
	byClass      *telemetry.Series[events.ErrorClass]
}

type (
	endKey struct {
		kind   string
		status events.Status
		source events.Source
	}
	kindClass struct {
		kind  string
		class events.ErrorClass
	}
	kindStatus struct {
		kind   string
		status events.Status
	}
)

// NewMetrics shows the series that alerts watch from the start: a counter that appears at 1 has not increased.
func NewMetrics(m *telemetry.Meter, kinds kling.Kinds) *Metrics {
	buckets := []float64{5, 10, 20, 30, 60, 90, 120, 180, 240, 300, 420, 600, 900, 1800, 3600, 4 * 3600, 24 * 3600}
	sm := &Metrics{
		lateResults: m.Count("kling.late.results", "{result}", "Ends of tasks whose request had expired or was cancelled."),
		oddFields: telemetry.NewCounter(m, "kling.odd_fields", "{field}",
			"Fields of ended tasks that had an unexpected type and count as absent.", telemetry.One[string](telemetry.AttrKind)),
		deadLetters: m.Count("kling.dead_letters", "{message}", "Requests kept as dead letters, by the class of their error."),
		retries: telemetry.NewCounter(m, "kling.retries", "{try}", "Failed tasks that are made again, by the class of their error.",
			func(k kindClass) []attribute.KeyValue {
				return []attribute.KeyValue{attribute.String(telemetry.AttrKind, k.kind), attribute.String(telemetry.AttrClass, string(k.class))}
			}),
		units:    telemetry.NewSum(m, "kling.units", "{unit}", "Units deducted by Kling.", telemetry.One[string](telemetry.AttrKind)),
		duration: m.Seconds("kling.task.duration", "From a task being created to its end being published.", buckets),

		byClass: telemetry.NewSeries(telemetry.One[events.ErrorClass](telemetry.AttrClass)),
		completions: telemetry.NewCounter(m, "kling.completions", "{completion}", "Requests ended.", func(e endKey) []attribute.KeyValue {
			return []attribute.KeyValue{
				attribute.String(telemetry.AttrKind, e.kind), attribute.String(telemetry.AttrStatus, string(e.status)),
				attribute.String(telemetry.AttrSource, string(e.source)),
			}
		}),
		byKindStatus: telemetry.NewSeries(func(k kindStatus) []attribute.KeyValue {
			return []attribute.KeyValue{attribute.String(telemetry.AttrKind, k.kind), attribute.String(telemetry.AttrStatus, string(k.status))}
		}),
	}
	ctx := context.Background()
	for _, kind := range kinds.All() {
		sm.completions.Add(endKey{kind.Name, events.StatusExpired, events.SourceBridge}, 0)
	}
	for _, class := range []events.ErrorClass{
		events.ErrorInvalid, events.ErrorPolicy, events.ErrorPermission, events.ErrorInput,
	} {
		sm.deadLetters.Add(ctx, 0, sm.byClass.Of(class))
	}
	return sm
}

// begun shows what may be counted of a task later.
func (m *Metrics) begun(kind string) {
	m.oddFields.Add(kind, 0)
	m.retries.Add(kindClass{kind, events.ErrorKling}, 0)
}

func (m *Metrics) completed(ctx context.Context, ev *events.Event) {
	m.completions.Add(endKey{ev.Kind, ev.Status, ev.Source}, 1)
	m.deducted(ev)
	byKling := ev.Status == events.StatusSucceed || ev.Status == events.StatusFailed
	if byKling && ev.SubmittedAt != nil {
		m.duration.Record(ctx, telemetry.SinceSeconds(ev.SubmittedAt.Time), m.byKindStatus.Records(kindStatus{ev.Kind, ev.Status})...)
	}
}

func (m *Metrics) late(ctx context.Context, ev *events.Event) {
	m.lateResults.Add(ctx, 1, m.byKindStatus.Of(kindStatus{ev.Kind, ev.Status}))
	m.deducted(ev)
}

// deducted counts what a task has cost. What is no amount is left out: a counter can't take it back.
func (m *Metrics) deducted(ev *events.Event) {
	units, err := strconv.ParseFloat(ev.Units, 64)
	if err == nil && units > 0 && !math.IsInf(units, 0) {
		m.units.Add(ev.Kind, units)
	}
}

func (m *Metrics) buried(ctx context.Context, class events.ErrorClass) {
	m.deadLetters.Add(ctx, 1, m.byClass.Of(class))
}

// noteEnd notes the end of a request.
func (s *Store) noteEnd(ctx context.Context, ev *events.Event) {
	s.Metrics.completed(ctx, ev)
	var all [maxEventAttrs]slog.Attr
	after := ev.CompletedAt.Sub(ev.RequestedAt.Time).Round(time.Millisecond)
	attrs := append(eventAttrs(all[:0], ev), slog.String("after", after.String())) // as handlers spell it
	if ev.Error != nil {
		attrs = append(attrs, slog.String("class", string(ev.Error.Class)), slog.String("err", ev.Error.Message))
	}
	telemetry.Line(ctx, s.Log, slog.LevelInfo, "completed", attrs...)
}

// noteLate notes a result that came after its request had expired or was cancelled.
func (s *Store) noteLate(ctx context.Context, ev *events.Event) {
	s.Metrics.late(ctx, ev)
	s.Log.LogAttrs(ctx, slog.LevelInfo, "late result", eventAttrs(nil, ev)...)
}

// noteOdd notes what of a task that has ended could not be read.
func (s *Store) noteOdd(ctx context.Context, rec *Record, task kling.Task) {
	if len(task.Odd) == 0 {
		return
	}
	s.Metrics.oddFields.Add(rec.Kind, int64(len(task.Odd)))
	s.Log.WarnContext(ctx, "odd fields of a task count as absent", slog.String("request_id", rec.RequestID),
		slog.String("kind", rec.Kind), slog.String("task_id", task.ID), slog.Any("fields", task.Odd))
}

// maxEventAttrs is how many attributes the end of a request has.
const maxEventAttrs = 8

func eventAttrs(attrs []slog.Attr, ev *events.Event) []slog.Attr {
	return append(attrs,
		slog.String("request_id", ev.RequestID), slog.String("kind", ev.Kind), slog.String("task_id", ev.TaskID),
		slog.String("status", string(ev.Status)), slog.String("source", string(ev.Source)))
}

// sendSpan begins the span of publishing an event.
func (s *Store) sendSpan(ctx context.Context, subject string, rec *Record, msgID string) (context.Context, trace.Span) {
	if s.Telemetry.Quiet(ctx) {
		return ctx, trace.SpanFromContext(ctx)
	}
	p, _ := s.Subjects.Parse(subject)
	template := s.Subjects.Prefix() + "." + string(p.Type) + ".{kind}.{status}.{id}"
	return s.Telemetry.Start(ctx, "send "+template, trace.SpanKindProducer, func() []attribute.KeyValue {
		return append(telemetry.Messaging(semconv.MessagingOperationTypeSend, "send", template),
			semconv.MessagingDestinationName(subject),
			semconv.MessagingMessageID(msgID),
			telemetry.KeyRequestID.String(rec.RequestID),
			telemetry.KeyKind.String(rec.Kind),
			telemetry.KeyStatus.String(string(p.Status)),
		)
	})
}
