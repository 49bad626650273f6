package telemetry

import "strings"

// Trace is a W3C context in the form a record stores. It is a [propagation.TextMapCarrier] of the fields that
// there are; a map takes three times the memory, in every record.
type Trace struct {
	Traceparent string `json:"traceparent,omitempty"`
	Tracestate  string `json:"tracestate,omitempty"`
	Baggage     string `json:"baggage,omitempty"`
}

func (c *Trace) field(key string) *string {
	switch key {
	case "traceparent":
		return &c.Traceparent
	case "tracestate":
		return &c.Tracestate
	case "baggage":
		return &c.Baggage
	default:
		return new(string)
	}
}

// Get implements [propagation.TextMapCarrier].
func (c *Trace) Get(key string) string { return *c.field(key) }

// Set implements [propagation.TextMapCarrier].
func (c *Trace) Set(key, value string) { *c.field(key) = value }

// Keys implements [propagation.TextMapCarrier].
func (c *Trace) Keys() []string { return []string{"traceparent", "tracestate", "baggage"} }

// ID is the id of the trace, 32 hex digits; empty: there is none.
func (c *Trace) ID() string {
	fields := strings.Split(c.Traceparent, "-") // version, trace, span, flags
	if len(fields) < 4 {
		return ""
	}
	return fields[1]
}
