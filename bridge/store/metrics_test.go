package store

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// testMetrics counts nothing.
func testMetrics(tb testing.TB) *Metrics {
	tb.Helper()
	return metricsOf(tb, noop.NewMeterProvider())
}

func metricsOf(tb testing.TB, provider metric.MeterProvider) *Metrics {
	tb.Helper()
	meter := telemetry.NewMeter(provider)
	m := NewMetrics(meter, kling.DefaultKinds())
	if err := meter.Err(); err != nil {
		tb.Fatal(err)
	}
	return m
}

func TestUnitsThatAreNoAmountCountNothing(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	m := metricsOf(t, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	for _, units := range []string{"", "-3", "NaN", "+Inf", "1e999", "three"} {
		m.deducted(&events.Event{Kind: "text2video", Units: units})
	}
	m.deducted(&events.Event{Kind: "text2video", Units: "2.5"})
	var got metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &got); err != nil {
		t.Fatal(err)
	}
	for _, each := range got.ScopeMetrics[0].Metrics {
		if sum, ok := each.Data.(metricdata.Sum[float64]); ok && each.Name == "kling.units" {
			if len(sum.DataPoints) != 1 || sum.DataPoints[0].Value != 2.5 {
				t.Errorf("counted %+v", sum.DataPoints)
			}
			return
		}
	}
	t.Error("no units are counted")
}

// BenchmarkCompletionMetrics is what counting adds to one completion.
func BenchmarkCompletionMetrics(b *testing.B) {
	m := metricsOf(b, sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	submitted := events.At(time.Now())
	ev := &events.Event{
		Kind: "text2video", Status: events.StatusSucceed, Source: events.SourceCallback, Units: "3", SubmittedAt: &submitted,
	}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			m.completed(b.Context(), ev)
		}
	})
}
