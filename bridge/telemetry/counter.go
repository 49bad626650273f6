package telemetry

import (
	"context"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Counter counts by key what happens with every request. It is read when somebody collects: to add to it takes a tenth of what an
// instrument takes that is told of each. So it has no exemplars; the histogram beside it does.
//
// Safe for concurrent use.
type Counter[K comparable] struct {
	attrs func(K) []attribute.KeyValue

	mu      sync.RWMutex
	counted map[K]*counted
}

type counted struct {
	n     atomic.Int64
	attrs metric.MeasurementOption
}

// NewCounter makes a counter whose attributes are made of a key by attrs. It is shown for as long as its provider is there: what was
// counted last is collected when all else has ended.
func NewCounter[K comparable](m *Meter, name, unit, description string, attrs func(K) []attribute.KeyValue) *Counter[K] {
	c := &Counter[K]{attrs: attrs, counted: map[K]*counted{}}
	shown, err := m.meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(description))
	m.errs = append(m.errs, err)
	// Not as an option of the instrument: of those, only the first bridge's is read.
	_, err = m.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error { c.observe(o, shown); return nil }, shown)
	m.errs = append(m.errs, err)
	return c
}

// Add counts n more of a key. Zero shows it: a counter that appears at 1 has not increased.
func (c *Counter[K]) Add(key K, n int64) {
	c.mu.RLock()
	at := c.counted[key]
	c.mu.RUnlock()
	if at == nil {
		at = c.begin(key)
	}
	at.n.Add(n)
}

func (c *Counter[K]) begin(key K) *counted {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.counted[key]; at != nil {
		return at
	}
	at := &counted{attrs: metric.WithAttributeSet(attribute.NewSet(c.attrs(key)...))}
	c.counted[key] = at
	return at
}

func (c *Counter[K]) observe(o metric.Observer, shown metric.Int64Observable) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, at := range c.counted {
		o.ObserveInt64(shown, at.n.Load(), at.attrs)
	}
}
