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
	made map[K]*series
}

// series has the attributes of one key, as the options of every measurement. They are passed as they are: a list of options
// that is made for a call needs memory.
type series struct {
	option  metric.MeasurementOption
	adds    []metric.AddOption
	records []metric.RecordOption
}

// NewSeries makes the attributes of a key by attrs.
func NewSeries[K comparable](attrs func(K) []attribute.KeyValue) *Series[K] {
	return &Series[K]{attrs: attrs, made: map[K]*series{}}
}

// One is for a key that is the value of a single attribute.
func One[K ~string](name string) func(K) []attribute.KeyValue {
	return func(value K) []attribute.KeyValue { return []attribute.KeyValue{attribute.String(name, string(value))} }
}

// Of returns the option that gives a measurement a key's attributes.
func (s *Series[K]) Of(key K) metric.MeasurementOption { return s.of(key).option }

// Adds is Of for a counter that is busy.
func (s *Series[K]) Adds(key K) []metric.AddOption { return s.of(key).adds }

// Records is Of for a histogram that is busy.
func (s *Series[K]) Records(key K) []metric.RecordOption { return s.of(key).records }

func (s *Series[K]) of(key K) *series {
	s.mu.RLock()
	made := s.made[key]
	s.mu.RUnlock()
	if made != nil {
		return made
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	option := metric.WithAttributeSet(attribute.NewSet(s.attrs(key)...))
	made = &series{option: option, adds: []metric.AddOption{option}, records: []metric.RecordOption{option}}
	s.made[key] = made
	return made
}
