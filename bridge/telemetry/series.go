package telemetry

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Series makes the attribute set of each key once: making one costs more than the measurement.
//
// Safe for concurrent use.
type Series[K comparable] struct{ byKey *made[K, series] }

// series has the attributes of one key, as the options of every measurement. They are passed as they are: a list of options
// that is made for a call needs memory.
type series struct {
	option  metric.MeasurementOption
	records []metric.RecordOption
}

// NewSeries makes the attributes of a key by attrs.
func NewSeries[K comparable](attrs func(K) []attribute.KeyValue) *Series[K] {
	return &Series[K]{newMade(func(key K) *series {
		option := metric.WithAttributeSet(attribute.NewSet(attrs(key)...))
		return &series{option: option, records: []metric.RecordOption{option}}
	})}
}

// One is for a key that is the value of a single attribute.
func One[K ~string](name string) func(K) []attribute.KeyValue {
	return func(value K) []attribute.KeyValue { return []attribute.KeyValue{attribute.String(name, string(value))} }
}

// Of returns the option that gives a measurement a key's attributes.
func (s *Series[K]) Of(key K) metric.MeasurementOption { return s.byKey.of(key).option }

// Records is Of for a histogram that is busy.
func (s *Series[K]) Records(key K) []metric.RecordOption { return s.byKey.of(key).records }
