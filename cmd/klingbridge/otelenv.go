package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/propagation"

	"github.com/klingbridge/klingbridge/config"
)

// The variables are those of OpenTelemetry's specification.
const (
	otelPropagators = "OTEL_PROPAGATORS"
	otelEndpoint    = "OTEL_EXPORTER_OTLP_ENDPOINT"
)

// exports reports whether anything says where to export the signal to.
func exports(environ map[string]string, signal string) bool {
	if strings.EqualFold(environ["OTEL_SDK_DISABLED"], "true") {
		return false
	}
	return environ["OTEL_"+signal+"_EXPORTER"] != "" ||
		environ[otelEndpoint] != "" ||
		environ["OTEL_EXPORTER_OTLP_"+signal+"_ENDPOINT"] != ""
}

// exporterFaults are endpoints that an exporter would not use: the libraries take what they can't read for none, and
// send to this machine instead.
func exporterFaults(environ map[string]string) config.Faults {
	var faults config.Faults
	for _, signal := range []string{"TRACES", "METRICS", "LOGS"} {
		exporter := cmp.Or(environ["OTEL_"+signal+"_EXPORTER"], "otlp")
		if !exports(environ, signal) || exporter != "otlp" {
			continue
		}
		variable := "OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT"
		if environ[variable] == "" {
			variable = otelEndpoint
		}
		protocol := cmp.Or(environ["OTEL_EXPORTER_OTLP_"+signal+"_PROTOCOL"], environ["OTEL_EXPORTER_OTLP_PROTOCOL"])
		fault := config.Fault{Variable: variable, Problem: endpointProblem(environ[variable], protocol)}
		if fault.Problem != "" && !slices.Contains(faults, fault) {
			faults = append(faults, fault)
		}
	}
	return faults
}

// endpointProblem does not quote the endpoint, which may hold a password. To gRPC an endpoint is whatever its library
// can dial, if only it can be read as a URL.
func endpointProblem(endpoint, protocol string) string {
	if endpoint == "" {
		return ""
	}
	u, err := url.Parse(endpoint)
	web := err == nil && (u.Scheme == "http" || u.Scheme == "https")
	switch {
	case web && u.Hostname() != "":
		return ""
	case err == nil && !web && protocol == "grpc":
		return ""
	default:
		return "is no URL with a scheme and a host (want e.g. http://collector:4318, or https://…)"
	}
}

// exporterFault is one that the library finds: a name that it does not know.
func exporterFault(variable string, err error) config.Faults {
	return config.Faults{{Variable: variable, Problem: oneLine(fmt.Errorf("set up the export: %w", err))}}
}

// propagatorOf returns what OTEL_PROPAGATORS names; where it names nothing, or nothing known, W3C trace context and
// baggage. What is unknown is told and ignored, as the specification has it. The formats of single vendors (b3, jaeger,
// xray, ottrace) are unknown here.
func propagatorOf(environ map[string]string, log *slog.Logger) propagation.TextMapPropagator {
	var chosen []propagation.TextMapPropagator
	for name := range strings.SplitSeq(environ[otelPropagators], ",") {
		switch name = strings.TrimSpace(name); name {
		case "tracecontext":
			chosen = append(chosen, propagation.TraceContext{})
		case "baggage":
			chosen = append(chosen, propagation.Baggage{})
		case "none":
			return propagation.NewCompositeTextMapPropagator()
		case "":
		default:
			log.Warn("unknown propagator, it is ignored", "variable", otelPropagators, "value", name)
		}
	}
	if len(chosen) == 0 {
		chosen = []propagation.TextMapPropagator{propagation.TraceContext{}, propagation.Baggage{}}
	}
	return propagation.NewCompositeTextMapPropagator(chosen...)
}
