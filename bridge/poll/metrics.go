package poll

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// What asking about one task came to.
const (
	answerEnded   = "ended"
	answerRunning = "running"
	answerNone    = "none" // Kling did not say, or it could not be stored
)

// Metrics count polls and what Kling said of each task.
type Metrics struct {
	polls    metric.Int64Counter
	tasks    metric.Int64Counter
	byAnswer *telemetry.Series[string]
}

// NewMetrics shows every series from the start: a counter that appears at 1 has not increased.
func NewMetrics(m *telemetry.Meter) *Metrics {
	pm := &Metrics{
		polls:    m.Count("kling.polls", "{poll}", "Polls, each of all due tasks of one kind and account."),
		tasks:    m.Count("kling.poll.tasks", "{task}", "Tasks asked about by polls, by what was answered."),
		byAnswer: telemetry.NewSeries(telemetry.One[string](telemetry.AttrOutcome)),
	}
	pm.polls.Add(context.Background(), 0)
	for _, answer := range []string{answerEnded, answerRunning, answerNone} {
		pm.tasks.Add(context.Background(), 0, pm.byAnswer.Of(answer))
	}
	return pm
}

func (m *Metrics) asked(ctx context.Context, n store.Effect, err error) {
	answer := answerRunning
	switch {
	case err != nil:
		answer = answerNone
	case n.Ended():
		answer = answerEnded
	}
	m.tasks.Add(ctx, 1, m.byAnswer.Of(answer))
}

// querySpan begins the span of a poll's calls to Kling. One call may serve the tasks of many traces, so it is a trace of
// its own, and each task's part links to it.
func (p *Poller) querySpan(ctx context.Context, of sort, tasks int) (context.Context, trace.Span) {
	attrs := func() []attribute.KeyValue {
		return []attribute.KeyValue{
			telemetry.KeyKind.String(of.kind.Name), telemetry.KeyAccount.String(of.account), semconv.MessagingBatchMessageCount(tasks),
		}
	}
	return p.Telemetry.Start(ctx, "query", trace.SpanKindInternal, attrs, trace.WithNewRoot())
}

// span begins the span of one task's part in a poll, linked to the call that may have served many.
func (p *Poller) span(ctx context.Context, d *dueTask) (context.Context, trace.Span) {
	rec := d.rec
	link := trace.LinkFromContext(ctx)
	template := p.Subjects.Due("{kind}", "{pool}", "{id}")
	attrs := func() []attribute.KeyValue {
		return append(telemetry.Processing(template, rec.RequestID, rec.Kind, rec.TaskID), telemetry.Delivered(d.msg)...)
	}
	return p.Telemetry.Start(p.Telemetry.Resume(ctx, &rec.Trace), "process "+template, trace.SpanKindConsumer, attrs, trace.WithLinks(link))
}
