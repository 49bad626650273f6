package main

import (
	"context"
	"fmt"
	"time"
)

// measureGrowth compares the cost of a request from its publish to its completion on a server with few and on one with
// many stored completions, each beside all else that a request leaves.
func measureGrowth(ctx context.Context, b *bench) ([]row, error) {
	few, many := 1000, b.of(1_000_000, 50_000)
	small, err := b.startGrown(ctx, few)
	if err != nil {
		return nil, err
	}
	defer small.stop()
	large, err := b.startGrown(ctx, many)
	if err != nil {
		return nil, err
	}
	defer large.stop()
	var elapsed, cpu, serverCPU []pair
	for round := range b.rounds() + 1 {
		b.note("  round %d of %d", round, b.rounds())
		n := b.of(2000, 1000)
		if round == 0 { // warms up and counts for nothing
			n = 200
		}
		var of1k, of1m cost
		err := inTurns(round,
			func() (err error) { of1k, err = small.cost(ctx, n); return err },
			func() (err error) { of1m, err = large.cost(ctx, n); return err },
		)
		if err != nil {
			return nil, err
		}
		if round > 0 {
			elapsed = append(elapsed, secondsPair(of1m.elapsed, of1k.elapsed))
			cpu = append(cpu, secondsPair(of1m.cpu, of1k.cpu))
			serverCPU = append(serverCPU, secondsPair(of1m.server, of1k.server))
		}
	}
	name := fmt.Sprintf("with %d stored completions to with %d: time of a request", many, few)
	return []row{
		b.judge(name, seconds, atMost(1.2, ratio), elapsed),
		b.judge("  CPU of the bridge", seconds, atMost(1.2, ratio), cpu),
		b.judge("  CPU of the NATS server", seconds, reportOnly(), serverCPU),
	}, nil
}

// grown is a line on a server with a history.
type grown struct {
	*line
	srv *natsServer
}

func (b *bench) startGrown(ctx context.Context, n int) (grown, error) {
	srv, err := b.startNATS(ctx, "")
	if err != nil {
		return grown{}, err
	}
	l, err := b.startLine(ctx, setup{natsURL: srv.url})
	if err != nil {
		srv.stop()
		return grown{}, err
	}
	g := grown{line: l, srv: srv}
	left, err := l.leavings(ctx)
	if err != nil {
		g.stop()
		return g, err
	}
	l.bridge.stop() // the copies are no news for it
	b.note("  store %d completions", n)
	for _, s := range left {
		if err := srv.fill(ctx, s, n); err != nil {
			g.stop()
			return g, err
		}
	}
	l.close()
	l.kling.Close()
	if g.line, err = b.startLine(ctx, setup{natsURL: srv.url}); err != nil {
		g.stop()
	}
	return g, err
}

func (g grown) stop() {
	g.line.stop()
	g.srv.stop()
}

// cost is what one request takes from its publish to its completion.
type cost struct{ elapsed, cpu, server time.Duration }

// cost runs n requests to their completions.
func (g grown) cost(ctx context.Context, n int) (c cost, err error) {
	c.server, err = g.srv.cpuDuring(func() error {
		submitted, submitCPU, err := g.submit(ctx, n)
		if err != nil {
			return err
		}
		called, err := g.callBack(ctx)
		c.elapsed = (submitted + time.Duration(float64(n)/called.rate*float64(time.Second))) / time.Duration(n)
		c.cpu = submitCPU/time.Duration(n) + called.cpu
		return err
	})
	c.server /= time.Duration(n)
	return c, err
}
