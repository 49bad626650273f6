package events

import (
	"maps"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
)

// HeaderCarrier lets an OpenTelemetry propagator read and write the headers of a NATS message. The carrier for HTTP
// headers is no substitute: it writes Traceparent, and NATS header names are case-sensitive.
type HeaderCarrier nats.Header

var _ propagation.TextMapCarrier = HeaderCarrier{}

// Get returns the first value of a header. Where none is spelled like key, one that differs in case will do: what
// publishers written for HTTP send.
func (c HeaderCarrier) Get(key string) string {
	if values := c[key]; len(values) > 0 {
		return values[0]
	}
	for name, values := range c {
		if strings.EqualFold(name, key) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// Set writes a header under key as it is spelled.
func (c HeaderCarrier) Set(key, value string) { nats.Header(c).Set(key, value) }

// Keys lists the names of the headers.
func (c HeaderCarrier) Keys() []string { return slices.Collect(maps.Keys(c)) }
