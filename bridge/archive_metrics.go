package bridge

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/events"
)

// What a try to archive a result came to.
const (
	archiveSucceeded = "succeed"
	archiveFailed    = "failed" // for good: some of its files are not in the archive
	archiveAgain     = "again"  // it is tried again later
)

// archiveMetrics count the tries to archive results.
type archiveMetrics struct {
	tries    metric.Int64Counter
	byAnswer *series[string]
}

// newArchiveMetrics shows every series from the start: a counter that appears at 1 has not increased.
func newArchiveMetrics(m *meter) *archiveMetrics {
	am := &archiveMetrics{
		tries:    m.count("kling.archive.tries", "{try}", "Tries to archive a result, by what they came to."),
		byAnswer: newSeries(one[string](attrOutcome)),
	}
	for _, came := range []string{archiveSucceeded, archiveFailed, archiveAgain} {
		am.tries.Add(context.Background(), 0, am.byAnswer.of(came))
	}
	return am
}

func (m *archiveMetrics) archived(ctx context.Context, came string) {
	m.tries.Add(ctx, 1, m.byAnswer.of(came))
}

// span begins the span of one try to archive a result.
func (a *archiver) span(ctx context.Context, rec *record) (context.Context, trace.Span) {
	template := a.subjects.Completion("{kind}", events.StatusSucceed, "{id}")
	attrs := func() []attribute.KeyValue { return processing(template, rec.RequestID, rec.Kind, rec.TaskID) }
	return a.telemetry.start(a.telemetry.resume(ctx, &rec.Trace), "process "+template, trace.SpanKindConsumer, attrs)
}
