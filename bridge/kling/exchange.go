package kling

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/httpconv"
	"go.opentelemetry.io/otel/trace"
)

const scopeName = "github.com/klingbridge/klingbridge/bridge/kling"

// exchanges tells of HTTP exchanges, each by a client span and the metrics http.client.request.duration and
// http.client.request.body.size of the semantic conventions. It does what otelhttp's transport does, which makes the
// attributes anew for each: they are the same for most.
//
// Trace ids and baggage are none of Kling's business: nothing of them is sent.
type exchanges struct {
	next     http.RoundTripper
	tracer   trace.Tracer // nil: of whoever made the span in the context, or the global one
	size     metric.Int64Histogram
	duration metric.Float64Histogram

	mu   sync.RWMutex
	made map[exchangeKey][]metric.RecordOption
}

// exchangeKey is what the metrics tell apart.
type exchangeKey struct {
	method, scheme, host, proto string
	status                      int
	failure                     string // the type of an error; empty: there is an answer
}

func newExchanges(next http.RoundTripper, traces trace.TracerProvider, meters metric.MeterProvider) *exchanges {
	meter := meters.Meter(scopeName)
	size, err := httpconv.NewClientRequestBodySize(meter)
	if err != nil {
		otel.Handle(err)
	}
	duration, err := httpconv.NewClientRequestDuration(meter)
	if err != nil {
		otel.Handle(err)
	}
	e := &exchanges{next: next, size: size.Inst(), duration: duration.Inst(), made: map[exchangeKey][]metric.RecordOption{}}
	if traces != nil {
		e.tracer = traces.Tracer(scopeName)
	}
	return e
}

// RoundTrip implements [http.RoundTripper].
func (e *exchanges) RoundTrip(r *http.Request) (*http.Response, error) {
	began := time.Now()
	ctx, span := e.tracerOf(r.Context()).Start(r.Context(), spanName(r.Method), trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(requestAttrs(r)...)
	}
	r = r.WithContext(ctx) // a copy: that of the caller is not ours to change
	sent := e.watchBody(r)
	response, err := e.next.RoundTrip(r)
	if err == nil && (response == nil || response.Body == nil) {
		err = fmt.Errorf("%T returned no answer and no error", e.next)
	}
	key := exchangeKey{method: r.Method, scheme: r.URL.Scheme, host: r.URL.Host, proto: r.Proto}
	if err != nil {
		key.failure = typeName(err)
		sent.answered(ctx, time.Since(began), e.options(key))
		span.SetAttributes(semconv.ErrorType(err))
		span.SetStatus(codes.Error, err.Error())
		span.End()
		return response, err
	}
	key.proto, key.status = response.Proto, response.StatusCode
	sent.answered(ctx, time.Since(began), e.options(key))
	if !span.IsRecording() {
		return response, nil
	}
	span.SetAttributes(responseAttrs(response)...)
	span.SetStatus(statusOf(response.StatusCode))
	response.Body = &answerBody{ReadCloser: response.Body, span: span}
	return response, nil
}

func (e *exchanges) tracerOf(ctx context.Context) trace.Tracer {
	switch span := trace.SpanFromContext(ctx); {
	case e.tracer != nil:
		return e.tracer
	case span.SpanContext().IsValid():
		return span.TracerProvider().Tracer(scopeName)
	default:
		return otel.GetTracerProvider().Tracer(scopeName)
	}
}

// options are those of a measurement.
func (e *exchanges) options(key exchangeKey) []metric.RecordOption {
	e.mu.RLock()
	options := e.made[key]
	e.mu.RUnlock()
	if options != nil {
		return options
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	options = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(key.attrs()...))}
	e.made[key] = options
	return options
}

func (k exchangeKey) attrs() []attribute.KeyValue {
	attrs := append(addressAttrs(&url.URL{Scheme: k.scheme, Host: k.host}),
		semconv.HTTPRequestMethodKey.String(k.method), semconv.URLScheme(k.scheme))
	name, version, _ := strings.Cut(k.proto, "/")
	if name != "" {
		attrs = append(attrs, semconv.NetworkProtocolName(strings.ToLower(name)))
	}
	if version != "" {
		attrs = append(attrs, semconv.NetworkProtocolVersion(version))
	}
	if k.failure != "" {
		return append(attrs, semconv.ErrorTypeKey.String(k.failure))
	}
	return append(attrs, semconv.HTTPResponseStatusCode(k.status))
}

// addressAttrs name the server, and its port where that is not the usual one.
func addressAttrs(u *url.URL) []attribute.KeyValue {
	attrs := []attribute.KeyValue{semconv.ServerAddress(u.Hostname())}
	usual := map[string]string{"http": "80", "https": "443"}
	if port := u.Port(); port != usual[u.Scheme] {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
			attrs = append(attrs, semconv.ServerPort(int(n)))
		}
	}
	return attrs
}

// typeName is the type of an error as metrics name it.
func typeName(err error) string {
	t := reflect.TypeOf(err)
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() == "" || t.Name() == "" {
		return t.String()
	}
	return t.PkgPath() + "." + t.Name()
}

func spanName(method string) string {
	switch method {
	case http.MethodPost:
		return "HTTP POST"
	case http.MethodGet:
		return "HTTP GET"
	default:
		return "HTTP " + method
	}
}

func requestAttrs(r *http.Request) []attribute.KeyValue {
	attrs := append(addressAttrs(r.URL), semconv.HTTPRequestMethodKey.String(r.Method), semconv.URLFull(r.URL.String()))
	return append(attrs, versionAttrs(r.Proto)...)
}

func responseAttrs(r *http.Response) []attribute.KeyValue {
	attrs := append(versionAttrs(r.Proto), semconv.HTTPResponseStatusCode(r.StatusCode))
	if isFailure(r.StatusCode) {
		attrs = append(attrs, semconv.ErrorTypeKey.String(strconv.Itoa(r.StatusCode)))
	}
	return attrs
}

func versionAttrs(proto string) []attribute.KeyValue {
	if _, version, _ := strings.Cut(proto, "/"); version != "" {
		return []attribute.KeyValue{semconv.NetworkProtocolVersion(version)}
	}
	return nil
}

func isFailure(status int) bool { return status >= 400 || status < 100 }

func statusOf(status int) (codes.Code, string) {
	switch {
	case status < 100 || status >= 600:
		return codes.Error, fmt.Sprintf("Invalid HTTP status code %d", status)
	case isFailure(status):
		return codes.Error, ""
	default:
		return codes.Unset, ""
	}
}

// answerBody ends the span of an exchange once the answer was read.
type answerBody struct {
	io.ReadCloser
	span trace.Span
}

// Read implements [io.Reader].
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	switch err {
	case nil:
	case io.EOF:
		b.span.End()
	default:
		b.span.SetAttributes(semconv.ErrorType(err))
		b.span.SetStatus(codes.Error, err.Error())
	}
	return n, err
}

// Close implements [io.Closer]. A span that has ended stays as it is.
func (b *answerBody) Close() error {
	b.span.End()
	return b.ReadCloser.Close()
}
