package main

import (
	"context"
	"time"
)

// before is the program beside an earlier one, on one NATS server. It tells what a change has brought, where the references of the
// other suites tell what is left.
type before struct {
	srv       *natsServer
	now, then *line
	callbacks comparison
	rate, cpu []pair // of requests
}

func measureBefore(ctx context.Context, b *bench) (rows []row, err error) {
	p := &before{}
	if p.srv, err = b.startNATS(ctx, ""); err != nil {
		return nil, err
	}
	defer p.srv.stop()
	if p.now, err = b.startLine(ctx, setup{natsURL: p.srv.url}); err != nil {
		return nil, err
	}
	defer p.now.stop()
	if p.then, err = b.startLine(ctx, setup{natsURL: p.srv.url, prefix: "before", program: b.before}); err != nil {
		return nil, err
	}
	defer p.then.stop()
	for round := range b.rounds() + 1 {
		b.note("  round %d of %d", round, b.rounds())
		n := b.of(10_000, 3000)
		if round == 0 { // warms up and counts for nothing
			n = 500
		}
		if err := p.measure(ctx, round, n); err != nil {
			return nil, err
		}
	}
	return []row{
		b.judge("callback to stored completion, 64 connections; the program before", perSecond, reportOnly(), p.callbacks.rate),
		b.judge("  CPU of each", seconds, reportOnly(), p.callbacks.cpu),
		b.judge("  CPU of the NATS server for each", seconds, reportOnly(), p.callbacks.serverCPU),
		b.judge("  p99 of the answers", seconds, reportOnly(), p.callbacks.p99),
		b.judge("request to submitted task, Kling answers at once; the program before", perSecond, reportOnly(), p.rate),
		b.judge("  CPU of each", seconds, reportOnly(), p.cpu),
	}, nil
}

// measure makes n requests and as many callbacks with each.
func (p *before) measure(ctx context.Context, round, n int) error {
	var now, then struct{ elapsed, cpu time.Duration }
	err := inTurns(round,
		func() (err error) { now.elapsed, now.cpu, err = p.now.submit(ctx, n); return err },
		func() (err error) { then.elapsed, then.cpu, err = p.then.submit(ctx, n); return err },
	)
	if err != nil {
		return err
	}
	var ours, theirs fired
	err = inTurns(round,
		p.srv.fire(&ours, n, func() (barrage, error) { return p.now.callBack(ctx) }),
		p.srv.fire(&theirs, n, func() (barrage, error) { return p.then.callBack(ctx) }),
	)
	if err != nil || round == 0 {
		return err
	}
	p.callbacks.add(ours, theirs)
	p.rate = append(p.rate, pair{float64(n) / now.elapsed.Seconds(), float64(n) / then.elapsed.Seconds()})
	p.cpu = append(p.cpu, secondsPair(now.cpu/time.Duration(n), then.cpu/time.Duration(n)))
	return nil
}
