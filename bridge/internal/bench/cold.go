package main

import (
	"context"
	"fmt"
	"slices"
)

// cold is the callbacks of a program with a hundred thousand tasks in flight, all of which it remembers, beside one with hardly
// any and beside the floor; and its callbacks right after a restart beside those before it.
type cold struct {
	*bench
	busy, idle *herd
	floor      *plain
	inFlight   int
	peak       int64 // bytes, before any restart

	toIdle, toFloor, toWarm comparison
}

// herd is a line with tasks in flight, on a server of its own.
type herd struct {
	*line
	srv   *natsServer
	tasks []task // in flight, oldest first
}

// unasked keeps timers from firing while it is measured.
func (h *herd) unasked() setup {
	return setup{natsURL: h.srv.url, env: []string{"BRIDGE_POLL_AFTER=12h"}}
}

func measureCold(ctx context.Context, b *bench) (rows []row, err error) {
	c := &cold{bench: b, inFlight: b.of(100_000, 20_000)}
	if c.idle, err = b.startHerd(ctx); err != nil {
		return nil, err
	}
	defer c.idle.stop()
	if c.busy, err = b.startHerd(ctx); err != nil {
		return nil, err
	}
	defer c.busy.stop()
	if c.floor, err = b.startFloorLike(ctx, c.busy.line, c.busy.srv.url); err != nil {
		return nil, err
	}
	defer c.floor.stop()
	b.note("  make %d tasks", c.inFlight)
	if err := c.busy.grow(ctx, c.inFlight); err != nil {
		return nil, err
	}
	for _, measure := range []func(context.Context, int, int) error{c.full, c.restarted} {
		for round := range b.rounds() + 1 {
			b.note("  round %d of %d", round, b.rounds())
			n := b.of(5000, 3000)
			if round == 0 { // warms up and counts for nothing
				n = 500
			}
			if err := measure(ctx, round, n); err != nil {
				return nil, err
			}
		}
	}
	return c.rows(), nil
}

func (b *bench) startHerd(ctx context.Context) (*herd, error) {
	srv, err := b.startNATS(ctx, "")
	if err != nil {
		return nil, err
	}
	h := &herd{srv: srv}
	if h.line, err = b.startLine(ctx, h.unasked()); err != nil {
		srv.stop()
	}
	return h, err
}

func (h *herd) stop() {
	h.line.stop()
	h.srv.stop()
}

// grow adds n tasks.
func (h *herd) grow(ctx context.Context, n int) error {
	const most = 10_000 // at a time
	for n > 0 {
		if _, _, err := h.submit(ctx, min(n, most)); err != nil {
			return err
		}
		n -= most
	}
	h.tasks = append(h.tasks, h.kling.take()...)
	return nil
}

// callBackOldest ends the n oldest tasks.
func (h *herd) callBackOldest(ctx context.Context, n int) (barrage, error) {
	h.kling.put(h.tasks[:n]...)
	h.tasks = h.tasks[n:]
	return h.callBack(ctx)
}

// restart has the program forget all tasks.
func (h *herd) restart(ctx context.Context, b *bench) (err error) {
	h.bridge.stop()
	again := h.unasked()
	again.kling = h.kling.URL
	h.bridge, err = b.startBridge(ctx, again)
	return err
}

// full compares callbacks about the oldest of many tasks with those about the only ones, and with the floor.
func (c *cold) full(ctx context.Context, round, n int) error {
	if err := c.busy.srv.armTimers(ctx, c.floor, n); err != nil {
		return err
	}
	if err := c.idle.grow(ctx, n); err != nil {
		return err
	}
	var busy, idle, floor fired
	err := inTurns(round,
		c.idle.srv.fire(&idle, n, func() (barrage, error) { return c.idle.callBackOldest(ctx, n) }),
		c.busy.srv.fire(&busy, n, func() (barrage, error) { return c.busy.callBackOldest(ctx, n) }),
		c.busy.srv.fire(&floor, n, func() (barrage, error) { return fireAt(ctx, c.floor.child, c.floor.shots(n)) }),
	)
	if err != nil {
		return err
	}
	if round > 0 {
		c.toIdle.add(busy, idle)
		c.toFloor.add(busy, floor)
	}
	u, err := c.busy.usage()
	if err != nil {
		return err
	}
	c.peak = u.peak
	return c.busy.grow(ctx, n)
}

// restarted compares callbacks of a program that has just started with those of one that has made the tasks.
func (c *cold) restarted(ctx context.Context, round, n int) error {
	var after, before fired
	err := inTurns(round,
		func() error {
			if err := c.busy.grow(ctx, n); err != nil {
				return err
			}
			newest := len(c.busy.tasks) - n
			c.busy.tasks = slices.Concat(c.busy.tasks[newest:], c.busy.tasks[:newest])
			return c.busy.srv.fire(&before, n, func() (barrage, error) { return c.busy.callBackOldest(ctx, n) })()
		},
		func() error {
			if err := c.busy.restart(ctx, c.bench); err != nil {
				return err
			}
			return c.busy.srv.fire(&after, n, func() (barrage, error) { return c.busy.callBackOldest(ctx, n) })()
		},
	)
	if err != nil {
		return err
	}
	if round > 0 {
		c.toWarm.add(after, before)
	}
	return c.busy.grow(ctx, n)
}

func (c *cold) rows() []row {
	name := fmt.Sprintf("%d tasks in flight: callbacks; with none else in flight", c.inFlight)
	return []row{
		c.judge(name, perSecond, atLeast(0.9, ratio), c.toIdle.rate),
		c.judge("  CPU of each", seconds, atMost(1.1, ratio), c.toIdle.cpu),
		c.judge("  CPU of the NATS server for each", seconds, reportOnly(), c.toIdle.serverCPU),
		c.judge("  p99 of the answers", seconds, reportOnly(), c.toIdle.p99),
		c.judge("  memory, at most", bytesUsed, reportValue(), []pair{{bridge: float64(c.peak)}}),
		c.judge("the same; the floor", perSecond, reportOnly(), c.toFloor.rate),
		c.judge("  CPU of each", seconds, reportOnly(), c.toFloor.cpu),
		c.judge("the same right after a restart; before it", perSecond, atLeast(0.6, ratio), c.toWarm.rate),
		c.judge("  CPU of each", seconds, reportOnly(), c.toWarm.cpu),
		c.judge("  CPU of the NATS server for each", seconds, reportOnly(), c.toWarm.serverCPU),
		c.judge("  p99 of the answers", seconds, reportOnly(), c.toWarm.p99),
	}
}
