package telemetry

import (
	"errors"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/klingbridge/klingbridge/events"
)

// Attributes of metrics, spelled like the keys of the log. Every one of them has few values, whatever comes in: kinds
// are those of the table, codes those of Kling's list, and nothing is counted by request, task or metadata.
const (
	AttrKind       = "kind"
	AttrAccount    = "account"
	AttrStatus     = "status"
	AttrSource     = "source"
	AttrPool       = "pool"
	AttrPriority   = "priority"
	AttrOutcome    = "outcome"
	AttrClass      = "class"
	AttrCall       = "call"
	AttrCode       = "code"
	AttrComponent  = "component"
	AttrGeneration = "generation"
)

// Meter makes instruments and keeps what went wrong until somebody asks. Counters are of this replica; add them up over
// replicas. Gauges of what replicas share, such as waiting requests and slots, are the same on each of them.
type Meter struct {
	meter metric.Meter
	errs  []error
}

// NewMeter makes the bridge's instruments at a provider.
func NewMeter(provider metric.MeterProvider) *Meter {
	return &Meter{meter: provider.Meter(instrumentationName)}
}

// Err joins what went wrong so far.
func (m *Meter) Err() error { return errors.Join(m.errs...) }

// Count makes a counter.
func (m *Meter) Count(name, unit, description string) metric.Int64Counter {
	c, err := m.meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return c
}

// Seconds makes a histogram of times.
func (m *Meter) Seconds(name, description string, buckets []float64) metric.Float64Histogram {
	h, err := m.meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(buckets...))
	m.errs = append(m.errs, err)
	return h
}

// Gauge makes an instrument that is read when somebody collects.
func (m *Meter) Gauge(name, unit, description string) metric.Int64ObservableGauge {
	o, err := m.meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return o
}

// SecondsGauge makes a gauge of a time.
func (m *Meter) SecondsGauge(name, description string) metric.Float64ObservableGauge {
	o, err := m.meter.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	return o
}

// Observe has gauges read by f until the registration is ended.
func (m *Meter) Observe(f metric.Callback, gauges ...metric.Observable) (metric.Registration, error) {
	return m.meter.RegisterCallback(f, gauges...)
}

// PriorityName is how attributes name a priority.
func PriorityName(p events.Priority) string {
	if p == events.PriorityNormal {
		return "normal"
	}
	return string(p)
}

// SinceSeconds is never negative: clocks of different machines may differ.
func SinceSeconds(t time.Time) float64 { return max(0, time.Since(t).Seconds()) }
