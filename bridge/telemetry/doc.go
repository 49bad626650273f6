// Package telemetry has what spans and metrics have in common: the tracer of a request's life, which is one trace from its
// publisher to its completion, and the instruments and attributes that every step makes its own metrics of.
//
// It owns the names of attributes. It knows nothing of requests: each step says in its own metrics.go what it counts and
// tells.
package telemetry
