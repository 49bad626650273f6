package callback

import (
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// BenchmarkCallbackMetrics is what counting adds to one callback.
func BenchmarkCallbackMetrics(b *testing.B) {
	m := NewMetrics(telemetry.NewMeter(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))))
	began := time.Now()
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.answered(b.Context(), outcomeStored, began)
		}
	})
}
