package bridge

import (
	"testing"

	"go.opentelemetry.io/otel/metric/noop"
)

// testMetrics counts nothing.
func testMetrics(tb testing.TB) *metrics {
	tb.Helper()
	m, err := newMetrics(noop.NewMeterProvider())
	if err != nil {
		tb.Fatal(err)
	}
	return m
}
