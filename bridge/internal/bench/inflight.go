package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// measureInFlight compares a program that has nothing to do with one on a server where a hundred thousand tasks are in
// flight. Both are started anew each time.
func measureInFlight(ctx context.Context, b *bench) ([]row, error) {
	n := b.of(100_000, 20_000)
	empty, err := b.startNATS(ctx, "")
	if err != nil {
		return nil, err
	}
	defer empty.stop()
	busy, err := b.startNATS(ctx, "")
	if err != nil {
		return nil, err
	}
	defer busy.stop()
	if err := b.putInFlight(ctx, busy, n); err != nil {
		return nil, err
	}
	kling := startAccepting()
	defer kling.Close()
	var memory, ready, idle []pair
	// What is in flight is counted anew 5 s after the start and then every 30 s: one count is watched, as in the long run.
	settle, watch := time.Duration(b.of(6, 1))*time.Second, time.Duration(b.of(30, 3))*time.Second
	for round := range b.rounds() {
		b.note("  round %d of %d", round+1, b.rounds())
		var full, none rest
		err := inTurns(round,
			func() (err error) {
				none, err = b.idle(ctx, setup{natsURL: empty.url, kling: kling.URL}, settle, watch)
				return err
			},
			func() (err error) {
				full, err = b.idle(ctx, setup{natsURL: busy.url, kling: kling.URL}, settle, watch)
				return err
			},
		)
		if err != nil {
			return nil, err
		}
		memory = append(memory, pair{float64(full.memory), float64(none.memory)})
		ready = append(ready, secondsPair(full.ready, none.ready))
		idle = append(idle, pair{full.cpu, none.cpu})
	}
	name := fmt.Sprintf("%d tasks in flight: ", n)
	return []row{
		b.judge(name+"memory", bytesUsed, atMost(25<<20, difference), memory),
		b.judge("  idle CPU, of a core", share, atMost(0.01, value), idle),
		b.judge("  from start to ready", seconds, atMost(2, value), ready),
	}, nil
}

// putInFlight makes one real task, and n like it.
func (b *bench) putInFlight(ctx context.Context, srv *natsServer, n int) error {
	l, err := b.startLine(ctx, setup{natsURL: srv.url})
	if err != nil {
		return err
	}
	defer l.stop()
	s, err := l.trace(ctx, false)
	if err != nil {
		return err
	}
	l.bridge.stop()
	l.bridge = nil
	b.note("  put %d tasks in flight", n)
	due := time.Now().Add(12 * time.Hour).UTC().Format(time.RFC3339Nano)
	return srv.publishAll(ctx, n, func(i int) *nats.Msg {
		msg := s.copy(copyID(i), copyTaskID(i))
		msg.Header.Set(jetstream.ScheduleHeader, "@at "+due)
		msg.Header.Set(jetstream.ScheduleTargetHeader, s.subjects.Put(s.subjects.Due(kind, "video", copyID(i))))
		return msg
	})
}

// rest is a program that has nothing to do.
type rest struct {
	ready  time.Duration
	memory int64   // bytes, at the end
	cpu    float64 // of a core, while watched
}

// idle starts the program, lets it settle, watches what it uses and stops it.
func (b *bench) idle(ctx context.Context, s setup, settle, watch time.Duration) (rest, error) {
	p, err := b.startBridge(ctx, s)
	if err != nil {
		return rest{}, err
	}
	defer p.stop()
	if err := sleep(ctx, settle); err != nil {
		return rest{}, err
	}
	cpu, err := p.cpuDuring(func() error { return sleep(ctx, watch) })
	if err != nil {
		return rest{}, err
	}
	u, err := p.usage()
	return rest{ready: p.ready, memory: u.memory, cpu: cpu.Seconds() / watch.Seconds()}, err
}
