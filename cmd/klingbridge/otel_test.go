package main

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/events"
)

// TestTelemetryWithoutEndpoint sets the process's globals, so it does not run beside others.
func TestTelemetryWithoutEndpoint(t *testing.T) {
	var logged bytes.Buffer
	telemetry, err := setupTelemetry(t.Context(), map[string]string{}, slog.New(slog.NewTextHandler(&logged, nil)))
	if err != nil {
		t.Fatal(err)
	}
	_, span := otel.Tracer("test").Start(t.Context(), "span")
	if span.IsRecording() {
		t.Error("spans are recorded although nothing says where to")
	}
	if !span.SpanContext().IsValid() || span.SpanContext().IsSampled() {
		t.Errorf("a new trace is %+v, want one that is not sampled", span.SpanContext())
	}
	span.End()
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	_, span = otel.Tracer("test").Start(trace.ContextWithRemoteSpanContext(t.Context(), parent), "span")
	if got := span.SpanContext(); got.TraceID() != parent.TraceID() || !got.IsSampled() || span.IsRecording() {
		t.Errorf("the span of a publisher who samples is %+v, want its trace", got)
	}
	_, span = otel.Tracer("test").Start(trace.ContextWithRemoteSpanContext(t.Context(), parent), "span", trace.WithNewRoot())
	if got := span.SpanContext(); got.TraceID() == parent.TraceID() || !got.IsValid() {
		t.Errorf("a new root is %+v, want a trace of its own", got)
	}
	telemetry.stop()
	if logged.Len() > 0 {
		t.Errorf("logged %s", &logged)
	}
	fields := slices.Sorted(slices.Values(otel.GetTextMapPropagator().Fields()))
	if want := []string{"baggage", "traceparent", "tracestate"}; !slices.Equal(fields, want) {
		t.Errorf("propagated fields %q, want %q", fields, want)
	}
}

func TestTelemetryWithExporter(t *testing.T) {
	t.Setenv("OTEL_TRACES_EXPORTER", "none")
	t.Setenv("OTEL_METRICS_EXPORTER", "none")
	before := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(before) })
	environ := map[string]string{"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}
	telemetry, err := setupTelemetry(t.Context(), environ, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer telemetry.stop()
	if _, ok := otel.GetTracerProvider().(*sdktrace.TracerProvider); !ok {
		t.Errorf("tracer provider is %T", otel.GetTracerProvider())
	}
}

// TestTelemetryIsPushed gives it an endpoint for everything, from which /metrics takes nothing away.
func TestTelemetryIsPushed(t *testing.T) {
	pushed, logs := make(chan string, 100), make(chan string, 100)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a test that gets half of it fails by that
		pushed <- r.URL.Path
		if r.URL.Path == "/v1/logs" {
			logs <- string(body)
		}
	}))
	t.Cleanup(collector.Close)
	environ := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
	for name, value := range environ {
		t.Setenv(name, value)
	}
	tracers, meters := otel.GetTracerProvider(), otel.GetMeterProvider()
	t.Cleanup(func() {
		otel.SetTracerProvider(tracers)
		otel.SetMeterProvider(meters)
	})
	var logged bytes.Buffer
	telemetry, err := setupTelemetry(t.Context(), environ, newLogger(&logged, "info", "json"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := otel.Tracer("test").Start(t.Context(), "span")
	telemetry.log.With(slog.Duration("limit", time.Minute)).InfoContext(ctx, "done", slog.Duration("took", 1500*time.Millisecond))
	telemetry.log.DebugContext(ctx, "not of interest")
	span.End()
	if !strings.Contains(logged.String(), `"trace_id":"`+span.SpanContext().TraceID().String()) {
		t.Errorf("logged %s", &logged)
	}
	scraped := httptest.NewRecorder()
	telemetry.metrics.ServeHTTP(scraped, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
	if !strings.Contains(scraped.Body.String(), "kling_build_info{") {
		t.Errorf("scraped %s", scraped.Body)
	}
	telemetry.stop()
	collector.Close()
	close(pushed)
	if log := <-logs; !strings.Contains(log, "1.5s") || !strings.Contains(log, "1m0s") {
		t.Errorf("the durations are not spelled: %q", log)
	}
	var paths []string
	for path := range pushed {
		paths = append(paths, path)
	}
	slices.Sort(paths)
	if want := []string{"/v1/logs", "/v1/metrics", "/v1/traces"}; !slices.Equal(slices.Compact(paths), want) {
		t.Errorf("pushed to %q, want %q; logged %s", paths, want, &logged)
	}
}

// TestSubmitBeginsTheTrace submits with an endpoint for traces: the request belongs to the trace of its span.
func TestSubmitBeginsTheTrace(t *testing.T) {
	var mu sync.Mutex
	var pushed bytes.Buffer
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = io.Copy(&pushed, r.Body) // a test that gets half of it fails by that
	}))
	t.Cleanup(collector.Close)
	b := startFakeBridge(t)
	environ := b.environ()
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.URL + "/v1/traces", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
		"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
	} {
		t.Setenv(name, value)
		environ[name] = value
	}
	tracers := otel.GetTracerProvider()
	t.Cleanup(func() { otel.SetTracerProvider(tracers) })
	got := execute(t.Context(), environ, "", "submit", "text2video", "--prompt", "x", "--set", "model_name=kling-v3", "--id", "order-1")
	if got.code != 0 || got.complaints() != "" {
		t.Fatalf("%+v", got)
	}
	header := b.request().Header
	carrier := propagation.TraceContext{}.Extract(t.Context(), events.HeaderCarrier(header))
	sent := trace.SpanContextFromContext(carrier)
	mu.Lock()
	defer mu.Unlock()
	id, span := sent.TraceID(), sent.SpanID()
	for what, want := range map[string]string{
		"name": "send kling.request.{kind}", "message": header.Get(jetstream.MsgIDHeader), "destination": "kling.request.text2video",
		"service": "service.instance.id", "environment": "deployment.environment.name", "trace": string(id[:]), "span": string(span[:]),
	} {
		if want == "" || !sent.IsSampled() || !bytes.Contains(pushed.Bytes(), []byte(want)) {
			t.Errorf("the %s %q is not in what was pushed: %q", what, want, pushed.String())
		}
	}
}

func TestExports(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		environ map[string]string
		want    bool
	}{
		"nothing":            {nil, false},
		"exporter":           {map[string]string{"OTEL_TRACES_EXPORTER": "console"}, true},
		"endpoint":           {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, true},
		"own endpoint":       {map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318"}, true},
		"another's endpoint": {map[string]string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://collector:4318"}, false},
		"disabled":           {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c", "OTEL_SDK_DISABLED": "true"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := exports(test.environ, "TRACES"); got != test.want {
				t.Errorf("exports = %t, want %t", got, test.want)
			}
		})
	}
}

func TestExporterComplainsOnceAMinute(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	now := time.Unix(0, 0)
	h := &throttledHandler{log: slog.New(slog.NewTextHandler(&logged, nil)), now: func() time.Time { return now }}
	for range 5 { // at 0, 30, 60, 90 and 120 seconds
		h.Handle(errors.New("no collector"))
		now = now.Add(30 * time.Second)
	}
	if n := strings.Count(logged.String(), "no collector"); n != 3 {
		t.Errorf("%d lines in two minutes, want 3:\n%s", n, &logged)
	}
}
