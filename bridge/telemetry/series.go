package telemetry

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Series makes the attribute set of each key once: making one costs more than the measurement.
//
// Safe for concurrent use.
type Series[K comparable] struct {
	attrs func(K) []attribute.KeyValue

	mu   sync.RWMutex
	made map[K]metric.MeasurementOption
}

// NewSeries makes the attributes of a key by attrs.
func NewSeries[K comparable](attrs func(K) []attribute.KeyValue) *Series[K] {
	return &Series[K]{attrs: attrs, made: map[K]metric.MeasurementOption{}}
}

// One is for a key that is the value of a single attribute.
func One[K ~string](name string) func(K) []attribute.KeyValue {
	return func(value K) []attribute.KeyValue { return []attribute.KeyValue{attribute.String(name, string(value))} }
}

// Of returns the option that gives a measurement a key's attributes.
func (s *Series[K]) Of(key K) metric.MeasurementOption {
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
