package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/contrib/exporters/autoexport"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	telemetryFlush    = 5 * time.Second // how long the last spans and metrics may take to leave
	telemetryComplain = time.Minute     // between complaints about an exporter

	scopeName = "github.com/klingbridge/klingbridge/cmd/klingbridge"
)

// telemetry is what a bridge reports to.
type telemetry struct {
	log        *slog.Logger                  // the program's, and OpenTelemetry's where that is wanted
	propagator propagation.TextMapPropagator // of the headers of requests and events

	meters  metric.MeterProvider // of /metrics and of whatever else OTEL_* asks for
	metrics http.Handler         // of /metrics, in Prometheus's form

	stops []func(context.Context) error
}

// setupTelemetry installs OpenTelemetry's global providers as the standard OTEL_* variables say. The caller stops what
// it returns. Where no exporter and no endpoint is named, nothing is exported, unlike the specification's default,
// which is to complain every few seconds that nobody listens on localhost. Metrics can be scraped in any case.
//
// The exporters read the process's own environment; environ only decides which of them are started.
func setupTelemetry(ctx context.Context, environ map[string]string, log *slog.Logger) (*telemetry, error) {
	otel.SetErrorHandler(&throttledHandler{log: log, now: time.Now})
	propagator := propagatorOf(environ, log)
	otel.SetTextMapPropagator(propagator)
	res, err := telemetryResource(ctx)
	if err != nil {
		return nil, err
	}
	t := &telemetry{log: log, propagator: propagator}
	err = t.setupTraces(ctx, environ, res)
	if err == nil {
		err = t.setupMetrics(ctx, environ, res)
	}
	if err == nil {
		err = t.setupLogs(ctx, environ, res)
	}
	if err != nil {
		t.stop()
		return nil, err
	}
	return t, nil
}

// traced runs f and exports its spans, where that is asked for: the trace of a request begins with who submits it.
func (p *program) traced(ctx context.Context, s settings, f func(context.Context) error) error {
	if !exports(p.environ, "TRACES") {
		return f(ctx)
	}
	otel.SetErrorHandler(&throttledHandler{log: s.log, now: time.Now})
	res, err := telemetryResource(ctx)
	if err != nil {
		return err
	}
	t := &telemetry{log: s.log}
	if err := t.setupTraces(ctx, p.environ, res); err != nil {
		return err
	}
	defer t.stop()
	return f(ctx)
}

func (t *telemetry) setupTraces(ctx context.Context, environ map[string]string, res *resource.Resource) error {
	if !exports(environ, "TRACES") {
		otel.SetTracerProvider(unexported{})
		return nil
	}
	exporter, err := autoexport.NewSpanExporter(ctx)
	if err != nil {
		return exporterFault("OTEL_TRACES_EXPORTER", err)
	}
	traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res))
	otel.SetTracerProvider(traces)
	t.stops = append(t.stops, traces.Shutdown)
	return nil
}

func (t *telemetry) setupMetrics(ctx context.Context, environ map[string]string, res *resource.Resource) error {
	scraped, handler, err := prometheusReader()
	if err != nil {
		return fmt.Errorf("set up /metrics: %w", err)
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(res), sdkmetric.WithReader(scraped)}
	if exports(environ, "METRICS") {
		pushed, err := autoexport.NewMetricReader(ctx)
		if err != nil {
			return exporterFault("OTEL_METRICS_EXPORTER", err)
		}
		options = append(options, sdkmetric.WithReader(pushed))
	}
	meters := sdkmetric.NewMeterProvider(options...)
	otel.SetMeterProvider(meters)
	t.meters, t.metrics, t.stops = meters, handler, append(t.stops, meters.Shutdown)
	return reportBuild(ctx, meters)
}

// prometheusReader collects metrics when the handler is asked for them, with those of the Go runtime and the process.
func prometheusReader() (sdkmetric.Reader, http.Handler, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	reader, err := otelprometheus.New(
		otelprometheus.WithRegisterer(registry),
		otelprometheus.WithoutScopeInfo(),
		otelprometheus.WithTranslationStrategy(otlptranslator.UnderscoreEscapingWithSuffixes))
	return reader, promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), err
}

// reportBuild says which program reports.
func reportBuild(ctx context.Context, meters metric.MeterProvider) error {
	info, err := meters.Meter(scopeName).Int64Gauge("kling.build.info",
		metric.WithDescription("1, with what was built in the labels."))
	if err != nil {
		return err
	}
	b := thisBuild()
	info.Record(ctx, 1, metric.WithAttributes(
		attribute.String("version", b.Version), attribute.String("commit", b.Commit), attribute.String("go", b.Go)))
	return nil
}

// setupLogs sends the log to OpenTelemetry too, where an endpoint is named for it.
func (t *telemetry) setupLogs(ctx context.Context, environ map[string]string, res *resource.Resource) error {
	if !exports(environ, "LOGS") {
		return nil
	}
	exporter, err := autoexport.NewLogExporter(ctx)
	if err != nil {
		return exporterFault("OTEL_LOGS_EXPORTER", err)
	}
	logs := sdklog.NewLoggerProvider(sdklog.WithResource(res), sdklog.WithProcessor(sdklog.NewBatchProcessor(exporter)))
	t.stops = append(t.stops, logs.Shutdown)
	t.log = alsoTo(t.log, spelledHandler{otelslog.NewHandler(scopeName, otelslog.WithLoggerProvider(logs))})
	return nil
}

// telemetryResource names the service; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win.
func telemetryResource(ctx context.Context) (*resource.Resource, error) {
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithHost(),
		resource.WithService(), // with an id of this run
		resource.WithAttributes(
			attribute.String("service.name", "klingbridge"),
			attribute.String("service.version", thisBuild().Version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return res, nil
}

// stop flushes and ends the exports. It has a deadline of its own: it runs when the program's context has ended.
func (t *telemetry) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), telemetryFlush)
	defer cancel()
	var errs []error
	for _, stop := range t.stops {
		errs = append(errs, stop(ctx))
	}
	if err := errors.Join(errs...); err != nil {
		t.log.WarnContext(ctx, "telemetry was not flushed", "err", err)
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
