package archiver

import (
	"context"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// What a try to archive a result came to.
const (
	archiveSucceeded = "succeed"
	archiveFailed    = "failed" // for good: some of its files are not in the archive
	archiveAgain     = "again"  // it is tried again later
)

// Metrics count the tries to archive results.
type Metrics struct {
	tries    metric.Int64Counter
	byAnswer *telemetry.Series[string]
}

// NewMetrics shows every series from the start: a counter that appears at 1 has not increased.
func NewMetrics(m *telemetry.Meter) *Metrics {
	am := &Metrics{
		tries:    m.Count("kling.archive.tries", "{try}", "Tries to archive a result, by what they came to."),
		byAnswer: telemetry.NewSeries(telemetry.One[string](telemetry.AttrOutcome)),
	}
	for _, came := range []string{archiveSucceeded, archiveFailed, archiveAgain} {
		am.tries.Add(context.Background(), 0, am.byAnswer.Of(came))
	}
	return am
}

func (m *Metrics) archived(ctx context.Context, came string) {
	m.tries.Add(ctx, 1, m.byAnswer.Of(came))
}

// span begins the span of one try to archive a result.
func (a *Archiver) span(ctx context.Context, msg jetstream.Msg, rec *store.Record) (context.Context, trace.Span) {
	template := a.Subjects.Completion("{kind}", events.StatusSucceed, "{id}")
	attrs := func() []attribute.KeyValue {
		return append(telemetry.Processing(template, rec.RequestID, rec.Kind, rec.TaskID), telemetry.Delivered(msg)...)
	}
	return a.Telemetry.Start(a.Telemetry.Resume(ctx, &rec.Trace), "process "+template, trace.SpanKindConsumer, attrs)
}
