package telemetry_test

import (
	"maps"
	"sync"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// TestCounterCounts has two bridges count side by side at one provider, each from many goroutines.
func TestCounterCounts(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	meter := telemetry.NewMeter(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	var counting sync.WaitGroup
	for range 2 {
		c := telemetry.NewCounter(meter, "things", "{thing}", "Things.", telemetry.One[string]("kind"))
		c.Add("none", 0)
		for range 8 {
			counting.Go(func() {
				for range 100 {
					c.Add("some", 1)
					c.Add("many", 10)
				}
			})
		}
	}
	counting.Wait()
	if err := meter.Err(); err != nil {
		t.Fatal(err)
	}
	want := map[string]int64{"none": 0, "some": 1600, "many": 16000}
	for range 2 { // to be read changes nothing
		if got := things(t, reader); !maps.Equal(got, want) {
			t.Errorf("counted %v, want %v", got, want)
		}
	}
}

// TestSumAdds has two bridges sum up side by side at one provider.
func TestSumAdds(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	meter := telemetry.NewMeter(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	var adding sync.WaitGroup
	for range 2 {
		s := telemetry.NewSum(meter, "units", "{unit}", "Units.", telemetry.One[string]("kind"))
		for range 8 {
			adding.Go(func() {
				for range 100 {
					s.Add("some", 0.25)
				}
			})
		}
	}
	adding.Wait()
	if err := meter.Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // to be read changes nothing
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		sum, ok := all.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[float64])
		if !ok || !sum.IsMonotonic || len(sum.DataPoints) != 1 || sum.DataPoints[0].Value != 400 {
			t.Errorf("collected %+v, want a sum of 400", all.ScopeMetrics[0].Metrics)
		}
	}
}

// things reads the only counter by its only attribute.
func things(t *testing.T, reader sdkmetric.Reader) map[string]int64 {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	sum, ok := all.ScopeMetrics[0].Metrics[0].Data.(metricdata.Sum[int64])
	if !ok || !sum.IsMonotonic || sum.Temporality != metricdata.CumulativeTemporality {
		t.Fatalf("collected %+v, want a counter", all.ScopeMetrics[0].Metrics)
	}
	counted := map[string]int64{}
	for _, point := range sum.DataPoints {
		kind, _ := point.Attributes.Value("kind")
		counted[kind.AsString()] = point.Value
	}
	return counted
}

func BenchmarkCounter(b *testing.B) {
	meter := telemetry.NewMeter(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	byKind := telemetry.One[string]("kind")
	b.Run("counter", func(b *testing.B) {
		c := telemetry.NewCounter(meter, "read", "{thing}", "Things.", byKind)
		b.ReportAllocs()
		for b.Loop() {
			c.Add("some", 1)
		}
	})
	b.Run("instrument", func(b *testing.B) {
		c, series := meter.Count("told", "{thing}", "Things."), telemetry.NewSeries(byKind)
		b.ReportAllocs()
		for b.Loop() {
			c.Add(b.Context(), 1, series.Of("some"))
		}
	})
}
