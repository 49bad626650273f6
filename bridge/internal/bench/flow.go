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

// flow is the callbacks and requests of the program with and without an exporter of traces and metrics, the floor, the
// plain handler and the loop, all on one NATS server.
type flow struct {
	*bench
	natsServer *natsServer
	floor      *plain
	plain      *plain
	loop       loopProcess
	bridge     *line
	exporting  *line
	exports    atomic.Int64 // of traces, by the latter

	toFloor, toPlain                                   comparison
	exportingRate, exportingCPU, submitRate, submitCPU []pair
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
	collector := f.startCollector()
	defer collector.Close()
	if f.exporting, err = f.startExporting(ctx, collector.URL); err != nil {
		return nil, err
	}
	defer f.exporting.stop()
	if f.floor, err = f.startFloorLike(ctx, f.bridge, f.natsServer.url); err != nil {
		return nil, err
	}
	defer f.floor.stop()
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

// startCollector takes what the program exports.
func (f *flow) startCollector() *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/traces") {
			f.exports.Add(1)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
		w.WriteHeader(http.StatusOK)
	}))
}

func (f *flow) startExporting(ctx context.Context, collector string) (*line, error) {
	return f.startLine(ctx, setup{natsURL: f.natsServer.url, prefix: "exporting", env: []string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector,
		"OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_TRACES_SAMPLER=parentbased_traceidratio",
		"OTEL_TRACES_SAMPLER_ARG=0.1",
	}})
}

// measure makes n requests and as many callbacks with each.
func (f *flow) measure(ctx context.Context, round, n int) error {
	var plain, floor, bridge, exporting fired
	var submit, loop struct{ elapsed, cpu time.Duration }
	err := inTurns(round,
		func() (err error) { loop.elapsed, loop.cpu, err = f.loop.run(n); return err },
		func() (err error) { submit.elapsed, submit.cpu, err = f.bridge.submit(ctx, n); return err },
		func() (err error) { _, _, err = f.exporting.submit(ctx, n); return err },
		func() error { return f.natsServer.armTimers(ctx, f.floor, n) },
	)
	if err != nil {
		return err
	}
	err = inTurns(round,
		f.natsServer.fire(&plain, n, func() (barrage, error) { return fireAt(ctx, f.plain.child, f.plain.shots(n)) }),
		f.natsServer.fire(&bridge, n, func() (barrage, error) { return f.bridge.callBack(ctx) }),
		f.natsServer.fire(&floor, n, func() (barrage, error) { return fireAt(ctx, f.floor.child, f.floor.shots(n)) }),
		f.natsServer.fire(&exporting, n, func() (barrage, error) { return f.exporting.callBack(ctx) }),
	)
	if err != nil || round == 0 {
		return err
	}
	f.toFloor.add(bridge, floor)
	f.toPlain.add(bridge, plain)
	f.exportingRate = append(f.exportingRate, pair{exporting.rate, bridge.rate})
	f.exportingCPU = append(f.exportingCPU, secondsPair(exporting.cpu, bridge.cpu))
	f.submitRate = append(f.submitRate, pair{float64(n) / submit.elapsed.Seconds(), float64(n) / loop.elapsed.Seconds()})
	f.submitCPU = append(f.submitCPU, secondsPair(submit.cpu/time.Duration(n), loop.cpu/time.Duration(n)))
	return nil
}

// fired is a barrage with what each callback cost the NATS server.
type fired struct {
	barrage
	serverCPU time.Duration
}

// fire returns what fires n callbacks at something on this server.
func (s *natsServer) fire(came *fired, n int, at func() (barrage, error)) func() error {
	return func() error {
		cpu, err := s.cpuDuring(func() (err error) { came.barrage, err = at(); return err })
		came.serverCPU = cpu / time.Duration(n)
		return err
	}
}

// comparison is callbacks beside a reference.
type comparison struct{ rate, cpu, serverCPU, p99 []pair }

func (c *comparison) add(bridge, reference fired) {
	c.rate = append(c.rate, pair{bridge.rate, reference.rate})
	c.cpu = append(c.cpu, secondsPair(bridge.cpu, reference.cpu))
	c.serverCPU = append(c.serverCPU, secondsPair(bridge.serverCPU, reference.serverCPU))
	c.p99 = append(c.p99, secondsPair(bridge.p99, reference.p99))
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
	memory := f.judge("memory under that load, at most", bytesUsed, atMost(25<<20, value),
		[]pair{{float64(bridge.peak), float64(plain.peak)}})
	return []row{
		f.judge("callback to stored completion, 64 connections; the floor", perSecond, atLeast(0.85, ratio), f.toFloor.rate),
		f.judge("  CPU of each", seconds, atMost(1.25, ratio), f.toFloor.cpu),
		f.judge("  CPU of the NATS server for each", seconds, reportOnly(), f.toFloor.serverCPU),
		f.judge("  p99 of the answers", seconds, atMost(1.2, ratio), f.toFloor.p99),
		f.judge("the same; a plain handler", perSecond, reportOnly(), f.toPlain.rate),
		f.judge("  CPU of each", seconds, atMost(1.7, ratio), f.toPlain.cpu),
		f.judge("  CPU of the NATS server for each", seconds, reportOnly(), f.toPlain.serverCPU),
		f.judge("  p99 of the answers", seconds, reportOnly(), f.toPlain.p99),
		f.judge("the same with an OTLP exporter, 10 % sampled", perSecond, atLeast(0.9, ratio), f.exportingRate),
		f.judge("  CPU of each", seconds, reportOnly(), f.exportingCPU),
		// Before they were made cheaper, requests had 0.34 of the loop's rate and took 3.46 times its CPU. They are to have 1.5 times
		// the former and 0.6 of the latter.
		f.judge("request to submitted task, Kling answers at once", perSecond, atLeast(0.51, ratio), f.submitRate),
		f.judge("  CPU of each", seconds, atMost(2.1, ratio), f.submitCPU),
		memory,
	}, nil
}
