package files

import (
	"context"
	"net/http"
	"strconv"

	"go.opentelemetry.io/otel/metric"

	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// Metrics count what was asked for.
type Metrics struct {
	answers metric.Int64Counter
	byCode  *telemetry.Series[string]
}

// NewMetrics makes the instruments of files by URL.
func NewMetrics(m *telemetry.Meter) *Metrics {
	metrics := &Metrics{
		answers: m.Count("kling.file.answers", "{answer}", "Files asked for by URL, by the status of the answer; 200: also a part of a file."),
		byCode:  telemetry.NewSeries(telemetry.One[string](telemetry.AttrCode)),
	}
	for _, code := range []int{http.StatusOK, http.StatusNotFound, http.StatusServiceUnavailable} {
		metrics.answers.Add(context.Background(), 0, metrics.byCode.Of(strconv.Itoa(code)))
	}
	return metrics
}

func (m *Metrics) served(ctx context.Context, status int) {
	m.answers.Add(ctx, 1, m.byCode.Of(strconv.Itoa(status)))
}
