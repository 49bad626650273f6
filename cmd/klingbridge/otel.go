package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	telemetryFlush    = 5 * time.Second // how long the last spans and metrics may take to leave
	telemetryComplain = time.Minute     // between complaints about an exporter
)

// setupTelemetry installs OpenTelemetry's global providers as the standard OTEL_* variables say, and returns what
// flushes and stops them. Where no exporter and no endpoint is named, nothing is exported, unlike the
// specification's default, which is to complain every few seconds that nobody listens on localhost.
//
// The exporters read the process's own environment; environ only decides which of them are started.
func setupTelemetry(ctx context.Context, environ map[string]string, log *slog.Logger) (stop func(), err error) {
	otel.SetErrorHandler(&throttledHandler{log: log, now: time.Now})
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(
		propagation.TraceContext{}, propagation.Baggage{}))
	res, err := telemetryResource(ctx)
	if err != nil {
		return nil, err
	}
	var stops []func(context.Context) error
	stop = func() { stopTelemetry(stops, log) }
	if exports(environ, "TRACES") {
		exporter, err := autoexport.NewSpanExporter(ctx)
		if err != nil {
			return nil, fmt.Errorf("set up the export of traces (OTEL_TRACES_EXPORTER): %w", err)
		}
		traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
		otel.SetTracerProvider(traces)
		stops = append(stops, traces.Shutdown)
	} else {
		otel.SetTracerProvider(unexportedTraces())
	}
	if exports(environ, "METRICS") {
		reader, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			stop()
			return nil, fmt.Errorf("set up the export of metrics (OTEL_METRICS_EXPORTER): %w", err)
		}
		metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(res))
		otel.SetMeterProvider(metrics)
		stops = append(stops, metrics.Shutdown)
	}
	return stop, nil
}

// unexportedTraces gives spans ids but records none of its own accord: events carry a traceparent in any case, so that
// those who do export see one trace, and whether it is sampled stays the publisher's decision.
func unexportedTraces() *sdktrace.TracerProvider {
	return sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.NeverSample())))
}

// exports reports whether anything says where to export the signal to.
func exports(environ map[string]string, signal string) bool {
	if environ["OTEL_SDK_DISABLED"] == "true" {
		return false
	}
	return environ["OTEL_"+signal+"_EXPORTER"] != "" ||
		environ["OTEL_EXPORTER_OTLP_ENDPOINT"] != "" ||
		environ["OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"] != ""
}

// telemetryResource names the service; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
func telemetryResource(ctx context.Context) (*resource.Resource, error) {
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithAttributes(
			attribute.String("service.name", "klingbridge"),
			attribute.String("service.version", thisBuild().Version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return res, nil
}

// stopTelemetry has a deadline of its own: it runs when the program's context has ended.
func stopTelemetry(stops []func(context.Context) error, log *slog.Logger) {
	ctx, cancel := context.WithTimeout(context.Background(), telemetryFlush)
	defer cancel()
	var errs []error
	for _, stop := range stops {
		errs = append(errs, stop(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		log.WarnContext(ctx, "telemetry was not flushed", "err", err)
	}
}

// throttledHandler logs what exporters complain about, but not every time: a collector may be away for hours.
type throttledHandler struct {
	log *slog.Logger
	now func() time.Time

	mu   sync.Mutex // guards last; exporters call from goroutines of their own
	last time.Time
}

// Handle implements [otel.ErrorHandler].
func (h *throttledHandler) Handle(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := h.now(); h.last.IsZero() || now.Sub(h.last) >= telemetryComplain {
		h.last = now
		h.log.Warn("telemetry export", "err", err)
	}
}
