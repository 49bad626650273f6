package bridge

import (
	"errors"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/klingbridge/klingbridge/events"
)

// Attributes of metrics, spelled like the keys of the log. Every one of them has few values, whatever comes in: kinds
// are those of the table, codes those of Kling's list, and nothing is counted by request, task or metadata.
const (
	attrKind       = "kind"
	attrStatus     = "status"
	attrSource     = "source"
	attrPool       = "pool"
	attrPriority   = "priority"
	attrOutcome    = "outcome"
	attrClass      = "class"
	attrCall       = "call"
	attrCode       = "code"
	attrComponent  = "component"
	attrGeneration = "generation"
)

// meter makes instruments and keeps what went wrong until somebody asks. Counters are of this replica; add them up over
// replicas. Gauges of what replicas share, such as waiting requests and slots, are the same on each of them.
type meter struct {
	meter metric.Meter
	errs  []error
}

// newMeter makes the bridge's instruments at a provider.
func newMeter(provider metric.MeterProvider) *meter {
	return &meter{meter: provider.Meter(instrumentationName)}
}

// err joins what went wrong so far.
func (m *meter) err() error { return errors.Join(m.errs...) }

// count makes a counter.
func (m *meter) count(name, unit, description string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return c
}

// sum makes a counter of what is not whole.
func (m *meter) sum(name, unit, description string) metric.Float64Counter {
	c, err := m.meter.Float64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return c
}

// seconds makes a histogram of times.
func (m *meter) seconds(name, description string, buckets []float64) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(buckets...))
	m.errs = append(m.errs, err)
	return h
}

// gauge makes an instrument that is read when somebody collects.
func (m *meter) gauge(name, unit, description string) metric.Int64ObservableGauge {
	o, err := m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return o
}

// secondsGauge makes a gauge of a time.
func (m *meter) secondsGauge(name, description string) metric.Float64ObservableGauge {
	o, err := m.meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return o
}

// observe has gauges read by f until the registration is ended.
func (m *meter) observe(f metric.Callback, gauges ...metric.Observable) (metric.Registration, error) {
	return m.meter.RegisterCallback(f, gauges...)
}

// priorityName is how attributes name a priority.
func priorityName(p events.Priority) string {
	if p == events.PriorityNormal {
		return "normal"
	}
	return string(p)
}

// sinceSeconds is never negative: clocks of different machines may differ.
func sinceSeconds(t time.Time) float64 { return max(0, time.Since(t).Seconds()) }
