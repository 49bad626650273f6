package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"
)

// flow is the callbacks and requests of the program with and without an exporter of traces and metrics, the plain
// handler and the loop, all on one NATS server.
type flow struct {
	*bench
	natsServer *natsServer
	plain      *plain
	loop       loopProcess
	bridge     *line
	exporting  *line
	exports    atomic.Int64 // of traces, by the latter

	rate, cpu, serverCPU, p99, exportingRate, exportingCPU, submitRate, submitCPU []pair
}

func measureFlow(ctx context.Context, b *bench) (rows []row, err error) {
	f := &flow{bench: b}
	if f.natsServer, err = b.startNATS(ctx, ""); err != nil {
		return nil, err
	}
	defer f.natsServer.stop()
	if f.plain, err = b.startPlain(ctx, "-nats", f.natsServer.url); err != nil {
		return nil, err
	}
	defer f.plain.stop()
	if f.bridge, err = b.startLine(ctx, setup{natsURL: f.natsServer.url}); err != nil {
		return nil, err
	}
	defer f.bridge.stop()
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/traces") {
			f.exports.Add(1)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.WriteHeader(http.StatusOK)
	}))
	defer collector.Close()
	f.exporting, err = b.startLine(ctx, setup{natsURL: f.natsServer.url, prefix: "exporting", env: []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL,
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio",
		"OTEL_TRACES_SAMPLER_ARG=0.1",
	}})
	if err != nil {
		return nil, err
	}
	defer f.exporting.stop()
	kling := startAccepting()
	defer kling.Close()
	if f.loop, err = b.startLoop(ctx, "-nats", f.natsServer.url, "-kling", kling.URL); err != nil {
		return nil, err
	}
	defer f.loop.stop()
	for round := range b.rounds() + 1 {
		b.note("  round %d of %d", round, b.rounds())
		n := b.of(10_000, 3000)
		if round == 0 { // warms up and counts for nothing
			n = 500
		}
		if err := f.measure(ctx, round, n); err != nil {
			return nil, err
		}
	}
	if f.exports.Load() == 0 {
		return nil, errors.New("no traces were exported")
	}
	return f.rows()
}

// measure makes n requests and as many callbacks with each.
func (f *flow) measure(ctx context.Context, round, n int) error {
	var plain, bridge, exporting barrage
	var serverPlain, serverBridge time.Duration
	var submit, loop struct{ elapsed, cpu time.Duration }
	err := inTurns(round,
		func() (err error) { loop.elapsed, loop.cpu, err = f.loop.run(n); return err },
		func() (err error) { submit.elapsed, submit.cpu, err = f.bridge.submit(ctx, n); return err },
		func() (err error) { _, _, err = f.exporting.submit(ctx, n); return err },
	)
	if err != nil {
		return err
	}
	err = inTurns(round,
		func() (err error) {
			shots := f.plain.shots(n)
			serverPlain, err = f.natsServer.cpuDuring(func() (err error) { plain, err = fireAt(ctx, f.plain.child, shots); return err })
			return err
		},
		func() (err error) {
			serverBridge, err = f.natsServer.cpuDuring(func() (err error) { bridge, err = f.bridge.callBack(ctx); return err })
			return err
		},
		func() (err error) { exporting, err = f.exporting.callBack(ctx); return err },
	)
	if err != nil || round == 0 {
		return err
	}
	f.rate = append(f.rate, pair{bridge.rate, plain.rate})
	f.cpu = append(f.cpu, secondsPair(bridge.cpu, plain.cpu))
	f.serverCPU = append(f.serverCPU, secondsPair(serverBridge/time.Duration(n), serverPlain/time.Duration(n)))
	f.p99 = append(f.p99, secondsPair(bridge.p99, plain.p99))
	f.exportingRate = append(f.exportingRate, pair{exporting.rate, bridge.rate})
	f.exportingCPU = append(f.exportingCPU, secondsPair(exporting.cpu, bridge.cpu))
	f.submitRate = append(f.submitRate, pair{float64(n) / submit.elapsed.Seconds(), float64(n) / loop.elapsed.Seconds()})
	f.submitCPU = append(f.submitCPU, secondsPair(submit.cpu/time.Duration(n), loop.cpu/time.Duration(n)))
	return nil
}

func (f *flow) rows() ([]row, error) {
	bridge, err := f.bridge.usage()
	if err != nil {
		return nil, err
	}
	plain, err := f.plain.usage()
	if err != nil {
		return nil, err
	}
	memory := f.judge("RSS under that load, at most", bytesUsed, atMost(40<<20, value),
		[]pair{{float64(bridge.peak), float64(plain.peak)}})
	return []row{
		f.judge("callback to stored completion, 64 connections", perSecond, atLeast(1.0, ratio), f.rate),
		f.judge("  CPU of each", seconds, atMost(1.2, ratio), f.cpu),
		f.judge("  CPU of the NATS server for each", seconds, reportOnly(), f.serverCPU),
		f.judge("  p99 of the answers", seconds, atMost(1.2, ratio), f.p99),
		f.judge("the same with an OTLP exporter, 10 % sampled", perSecond, atLeast(0.9, ratio), f.exportingRate),
		f.judge("  CPU of each", seconds, reportOnly(), f.exportingCPU),
		f.judge("request to submitted task, Kling answers at once", perSecond, atLeast(0.8, ratio), f.submitRate),
		f.judge("  CPU of each", seconds, reportOnly(), f.submitCPU),
		memory,
	}, nil
}
