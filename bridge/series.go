package bridge

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// series makes the attribute set of each key once: making one costs more than the measurement.
//
// Safe for concurrent use.
type series[K comparable] struct {
	attrs func(K) []attribute.KeyValue

	mu   sync.RWMutex
	made map[K]metric.MeasurementOption
}

// newSeries makes the attributes of a key by attrs.
func newSeries[K comparable](attrs func(K) []attribute.KeyValue) *series[K] {
	return &series[K]{attrs: attrs, made: map[K]metric.MeasurementOption{}}
}

// one is for a key that is the value of a single attribute.
func one[K ~string](name string) func(K) []attribute.KeyValue {
	return func(value K) []attribute.KeyValue { return []attribute.KeyValue{attribute.String(name, string(value))} }
}

// of returns the option that gives a measurement a key's attributes.
func (s *series[K]) of(key K) metric.MeasurementOption {
	s.mu.RLock()
	option, ok := s.made[key]
	s.mu.RUnlock()
	if ok {
		return option
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	option = metric.WithAttributeSet(attribute.NewSet(s.attrs(key)...))
	s.made[key] = option
	return option
}
