package main

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

// TestServeTellsTheVariable has what only the libraries behind serve would notice, or not even those: an endpoint without
// a scheme is taken for none. All of it is told at once, by name.
func TestServeTellsTheVariable(t *testing.T) {
	t.Parallel()
	environ := map[string]string{
		"KLING_API_KEY":                       "hunter2 hunter2",
		"KLING_BASE_URL":                      "https://api.example.com/\n",
		"BRIDGE_KLING_TIMEOUT":                "2m",
		"BRIDGE_INPUT_BUCKETS":                "a/b",
		"OTEL_EXPORTER_OTLP_ENDPOINT":         "collector:4318",
		"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "hunter2@192.0.2.1:4318",
	}
	for _, command := range []string{"serve", "doctor"} {
		got := execute(t.Context(), environ, "", command)
		if want := map[string]int{"serve": 2, "doctor": 1}[command]; got.code != want {
			t.Errorf("%s: exit %d, want %d", command, got.code, want)
		}
		for variable := range environ {
			if n := strings.Count(got.stdout+got.stderr, variable+": "); n != 1 {
				t.Errorf("%s tells %s %d times: %s", command, variable, n, got.stdout+got.stderr)
			}
		}
		if strings.Contains(got.stdout+got.stderr, "hunter2") {
			t.Errorf("%s shows a secret: %s", command, got.stdout+got.stderr)
		}
	}
}

func TestExporterFaults(t *testing.T) {
	t.Parallel()
	const traces, protocol = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
	for name, test := range map[string]struct {
		environ map[string]string
		want    string // the variable
	}{
		"nothing":                {nil, ""},
		"a URL":                  {map[string]string{otelEndpoint: "http://collector:4318"}, ""},
		"a name and a port":      {map[string]string{otelEndpoint: "collector:4318"}, otelEndpoint},
		"an address and a port":  {map[string]string{otelEndpoint: "192.0.2.1:4318"}, otelEndpoint},
		"a name":                 {map[string]string{otelEndpoint: "collector"}, otelEndpoint},
		"no host":                {map[string]string{otelEndpoint: "http://:4318"}, otelEndpoint},
		"another scheme":         {map[string]string{otelEndpoint: "grpc://collector:4317"}, otelEndpoint},
		"one signal's":           {map[string]string{traces: "collector:4318", otelEndpoint: "http://c:4318"}, traces},
		"gRPC, a name":           {map[string]string{otelEndpoint: "collector:4317", protocol: "grpc"}, ""},
		"gRPC, a socket":         {map[string]string{otelEndpoint: "unix:///run/otel", protocol: "grpc"}, ""},
		"gRPC, an address":       {map[string]string{otelEndpoint: "192.0.2.1:4317", protocol: "grpc"}, otelEndpoint},
		"nothing is exported":    {map[string]string{otelEndpoint: "c:1", "OTEL_SDK_DISABLED": "true"}, ""},
		"exported to the screen": {map[string]string{traces: "c:1", "OTEL_TRACES_EXPORTER": "console"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			faults := exporterFaults(test.environ)
			if test.want == "" && len(faults) > 0 || test.want != "" && (len(faults) != 1 || faults[0].Variable != test.want) {
				t.Errorf("faults %v, want %q", faults, test.want)
			}
		})
	}
}

func TestPropagators(t *testing.T) {
	t.Parallel()
	w3c := []string{"baggage", "traceparent", "tracestate"}
	for list, test := range map[string]struct {
		fields []string
		warned string
	}{
		"":                            {w3c, ""},
		" , ":                         {w3c, ""},
		"tracecontext, baggage":       {w3c, ""},
		"tracecontext":                {[]string{"traceparent", "tracestate"}, ""},
		"baggage":                     {[]string{"baggage"}, ""},
		"none":                        {nil, ""},
		"tracecontext,none":           {nil, ""},
		"b3,tracecontext,tracecontex": {[]string{"traceparent", "tracestate"}, "value=b3\nvalue=tracecontex\n"},
		"b3multi":                     {w3c, "value=b3multi\n"},
	} {
		t.Run(list, func(t *testing.T) {
			t.Parallel()
			var logged bytes.Buffer
			only := slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Key != "value" {
					return slog.Attr{}
				}
				return a
			}}
			p := propagatorOf(map[string]string{"OTEL_PROPAGATORS": list}, slog.New(slog.NewTextHandler(&logged, &only)))
			if got := slices.Sorted(slices.Values(p.Fields())); !slices.Equal(got, test.fields) || logged.String() != test.warned {
				t.Errorf("fields %q, logged %q", got, &logged)
			}
		})
	}
}
