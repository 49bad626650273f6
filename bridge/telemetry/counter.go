package telemetry

import (
	"context"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Counter counts by key what happens with every request. It is read when somebody collects: to add to it takes a fifth of what an
// instrument takes that is told of each. So it has no exemplars; the histogram beside it does.
//
// Safe for concurrent use.
type Counter[K comparable] struct{ byKey *made[K, counted] }

type counted struct {
	n     atomic.Int64
	attrs metric.MeasurementOption
}

// NewCounter makes a counter whose attributes are made of a key by attrs. It is shown for as long as its provider is there: what was
// counted last is collected when all else has ended.
func NewCounter[K comparable](m *Meter, name, unit, description string, attrs func(K) []attribute.KeyValue) *Counter[K] {
	c := &Counter[K]{newMade(func(key K) *counted {
		return &counted{attrs: metric.WithAttributeSet(attribute.NewSet(attrs(key)...))}
	})}
	shown, err := m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	m.read(shown, func(o metric.Observer) {
		c.byKey.each(func(at *counted) { o.ObserveInt64(shown, at.n.Load(), at.attrs) })
	})
	return c
}

// read has an instrument read by observe. That is no option of the instrument: of those, only the first bridge's is read.
func (m *Meter) read(shown metric.Observable, observe func(metric.Observer)) {
	_, err := m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		observe(o)
		return nil
	}, shown)
	m.errs = append(m.errs, err)
}

// Add counts n more of a key. Zero shows it: a counter that appears at 1 has not increased.
func (c *Counter[K]) Add(key K, n int64) { c.byKey.of(key).n.Add(n) }

// Sum is a [Counter] of what is not whole.
//
// Safe for concurrent use.
type Sum[K comparable] struct{ byKey *made[K, summed] }

type summed struct {
	mu    sync.Mutex
	total float64
	attrs metric.MeasurementOption
}

// NewSum makes a sum, as NewCounter makes a counter.
func NewSum[K comparable](m *Meter, name, unit, description string, attrs func(K) []attribute.KeyValue) *Sum[K] {
	s := &Sum[K]{newMade(func(key K) *summed {
		return &summed{attrs: metric.WithAttributeSet(attribute.NewSet(attrs(key)...))}
	})}
	shown, err := m.meter.Float64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	m.read(shown, func(o metric.Observer) {
		s.byKey.each(func(at *summed) { o.ObserveFloat64(shown, at.add(0), at.attrs) })
	})
	return s
}

// Add adds to the sum of a key.
func (s *Sum[K]) Add(key K, amount float64) { s.byKey.of(key).add(amount) }

func (s *summed) add(amount float64) (total float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total += amount
	return s.total
}
