package kling

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

// TestExchangesTellWhatOtelhttpTells compares spans and metrics of all sorts of exchanges.
func TestExchangesTellWhatOtelhttpTells(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/unread" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if traced := r.Header.Get("traceparent"); traced != "" {
			t.Errorf("traceparent %s was sent", traced)
		}
		var status int
		if _, err := fmt.Sscanf(r.URL.Path, "/%d", &status); err == nil {
			w.WriteHeader(status)
			return
		}
		if r.URL.Path == "/cut" {
			w.Header().Set("Content-Length", "100")
		}
		_, _ = io.WriteString(w, "answer")
	}))
	t.Cleanup(server.Close)
	gone := httptest.NewServer(nil)
	gone.Close()
	ours, theirs := newListener(t), newListener(t)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	clients := map[*listener]http.RoundTripper{
		ours: newExchanges(transport, ours.traces, ours.meters),
		theirs: otelhttp.NewTransport(transport, otelhttp.WithTracerProvider(theirs.traces), otelhttp.WithMeterProvider(theirs.meters),
			otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator())),
	}
	for l, tripper := range clients {
		client := &http.Client{Transport: tripper, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		made := 0
		exchange := func(client *http.Client, method, url string, body io.Reader) {
			exchange(t, client, method, url, body)
			made++
		}
		for _, path := range []string{"/", "/200", "/404", "/500", "/302", "/599", "/cut", "/?a=b"} {
			exchange(client, http.MethodGet, server.URL+path, nil)
			exchange(client, http.MethodPost, server.URL+path, strings.NewReader(strings.Repeat("x", 700)))
		}
		exchange(client, http.MethodPost, gone.URL+"/", strings.NewReader("lost"))
		exchange(client, http.MethodGet, gone.URL+"/", nil)
		exchange(client, http.MethodPost, server.URL+"/", io.MultiReader(strings.NewReader("half"), broken{}))
		exchange(&http.Client{Transport: tripper}, http.MethodPatch, server.URL+"/", strings.NewReader("other"))
		l.collect(t, made)
	}
	if diff := cmp.Diff(theirs.heard, ours.heard); diff != "" {
		t.Errorf("(-otelhttp +ours):\n%s", diff)
	}
	if len(ours.heard) < 30 {
		t.Errorf("only %d things were told", len(ours.heard))
	}
}

// broken is a body that can't be read.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }

func exchange(t *testing.T, client *http.Client, method, url string, body io.Reader) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(r)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, response.Body) // of one it is cut
	_ = response.Body.Close()
}

// listener hears spans and metrics.
type listener struct {
	spans  *tracetest.InMemoryExporter
	traces *sdktrace.TracerProvider
	reader *sdkmetric.ManualReader
	meters *sdkmetric.MeterProvider
	heard  []string
}

func newListener(t *testing.T) *listener {
	l := &listener{spans: tracetest.NewInMemoryExporter(), reader: sdkmetric.NewManualReader()}
	l.traces = sdktrace.NewTracerProvider(sdktrace.WithSyncer(l.spans))
	l.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(l.reader))
	t.Cleanup(func() {
		_ = l.traces.Shutdown(context.WithoutCancel(t.Context()))
		_ = l.meters.Shutdown(context.WithoutCancel(t.Context()))
	})
	return l
}

// collect waits until so many exchanges were measured: a transport may close the body of a request after the answer.
func (l *listener) collect(t *testing.T, made int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); l.measure(t) < made; {
		if <-tick.C; time.Now().After(deadline) {
			t.Fatalf("only some of %d exchanges were measured:\n%q", made, l.heard)
		}
	}
	for _, s := range l.spans.GetSpans() {
		l.heard = append(l.heard, fmt.Sprint(s.Name, s.SpanKind, spelled(attribute.NewSet(s.Attributes...)), s.Status, len(s.Events)))
	}
	slices.Sort(l.heard)
}

// measure notes the metrics, and returns how many exchanges they tell of.
func (l *listener) measure(t *testing.T) (exchanges int) {
	t.Helper()
	l.heard = nil
	var all metricdata.ResourceMetrics
	if err := l.reader.Collect(t.Context(), &all); err != nil {
		t.Fatal(err)
	}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			what := fmt.Sprint(m.Name, m.Description, m.Unit)
			switch data := m.Data.(type) {
			case metricdata.Histogram[int64]:
				for _, p := range data.DataPoints {
					l.heard = append(l.heard, fmt.Sprint(what, spelled(p.Attributes), p.Bounds, p.Count, p.Sum))
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					l.heard = append(l.heard, fmt.Sprint(what, spelled(p.Attributes), p.Bounds, p.Count))
					exchanges += int(p.Count)
				}
			}
		}
	}
	return exchanges
}

func spelled(s attribute.Set) string { return s.Encoded(attribute.DefaultEncoder()) }

// BenchmarkExchange is what telling of an exchange costs.
func BenchmarkExchange(b *testing.B) {
	next := answering{}
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
	for name, tripper := range map[string]http.RoundTripper{
		"ours": newExchanges(next, nil, meters), "otelhttp": otelhttp.NewTransport(next, otelhttp.WithMeterProvider(meters)),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://kling.example/v1/videos/text2video", strings.NewReader("x"))
				if err != nil {
					b.Fatal(err)
				}
				response, err := tripper.RoundTrip(r)
				if err != nil {
					b.Fatal(err)
				}
				_ = response.Body.Close() // it can't fail
			}
		})
	}
}

// answering answers everything.
type answering struct{}

func (answering) RoundTrip(r *http.Request) (*http.Response, error) {
	_ = r.Body.Close() // it can't fail
	return &http.Response{StatusCode: http.StatusOK, Proto: "HTTP/2.0", Body: http.NoBody, Request: r}, nil
}
