package main

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// every is the time between two callbacks to one side: 100 a second.
const every = 10 * time.Millisecond

// measureLatency measures the time from a callback's last byte to its event at a plain subscriber. Both sides get their
// callbacks in the same moments, one in the middle between two of the other. The reference is the floor, as a plain handler's
// event reaches a subscriber before it is stored.
func measureLatency(ctx context.Context, b *bench) ([]row, error) {
	srv, err := b.startNATS(ctx, "")
	if err != nil {
		return nil, err
	}
	defer srv.stop()
	l, err := b.startLine(ctx, setup{natsURL: srv.url})
	if err != nil {
		return nil, err
	}
	defer l.stop()
	floor, err := b.startFloorLike(ctx, l, srv.url)
	if err != nil {
		return nil, err
	}
	defer floor.stop()
	var p50, p99 []pair
	for round := range b.rounds() + 1 {
		b.note("  round %d of %d", round, b.rounds())
		n := b.of(800, 300)
		if round == 0 { // warms up and counts for nothing
			n = 100
		}
		if _, _, err := l.submit(ctx, n); err != nil {
			return nil, err
		}
		shots, err := l.shots()
		if err != nil {
			return nil, err
		}
		if err := srv.armTimers(ctx, floor, n); err != nil {
			return nil, err
		}
		ours, reference, err := inStep(ctx, srv, l.subjects.AllCompletions(), shots, floor.shots(n))
		if err != nil {
			return nil, err
		}
		if round > 0 {
			p50 = append(p50, secondsPair(quantile(ours, 0.5), quantile(reference, 0.5)))
			p99 = append(p99, secondsPair(quantile(ours, 0.99), quantile(reference, 0.99)))
		}
	}
	return []row{
		b.judge("callback's last byte to its event, 100/s, p50; the floor", seconds, atMost(1.3, ratio), p50),
		b.judge("  p99", seconds, atMost(1.3, ratio), p99),
	}, nil
}

// inStep sends both sides' callbacks at their pace and returns how long each took to become an event.
func inStep(ctx context.Context, srv *natsServer, completions string, ours, floor []shot) (a, b []time.Duration, err error) {
	began := time.Now().Add(every)
	var wg sync.WaitGroup
	var errA, errB error
	wg.Go(func() { a, errA = pace(ctx, srv, completions, ours, began) })
	wg.Go(func() { b, errB = pace(ctx, srv, floorPrefix+".completion.>", floor, began.Add(every/2)) })
	wg.Wait()
	return a, b, errors.Join(errA, errB)
}

// pace sends callbacks over a few connections, each at its time, and returns how long each took to become an event.
func pace(ctx context.Context, srv *natsServer, subject string, shots []shot, began time.Time) ([]time.Duration, error) {
	var mu sync.Mutex
	arrived := map[string]time.Time{}
	all := make(chan struct{})
	sub, err := srv.nc.Subscribe(subject, func(msg *nats.Msg) {
		now := time.Now()
		mu.Lock()
		defer mu.Unlock()
		arrived[msg.Subject[strings.LastIndexByte(msg.Subject, '.')+1:]] = now
		if len(arrived) == len(shots) {
			close(all)
		}
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := srv.nc.Flush(); err != nil {
		return nil, err
	}
	sent, err := shoot(ctx, shots, began)
	if err != nil {
		return nil, err
	}
	select {
	case <-all:
	case <-time.After(patience):
		return nil, errors.New("not every callback became an event")
	}
	mu.Lock()
	defer mu.Unlock()
	times := make([]time.Duration, 0, len(shots))
	for id, at := range sent {
		times = append(times, arrived[id].Sub(at))
	}
	return times, nil
}

// shoot sends each shot at its time, from several guns, and returns when each was sent.
func shoot(ctx context.Context, shots []shot, began time.Time) (map[string]time.Time, error) {
	const guns = 4
	var mu sync.Mutex
	var wg sync.WaitGroup
	sent, errs := map[string]time.Time{}, make(chan error, guns)
	for first := range guns {
		wg.Go(func() {
			g, err := openGun(ctx, shots[0].addr)
			if err != nil {
				errs <- err
				return
			}
			defer g.close()
			for i := first; i < len(shots); i += guns {
				at, err := g.fireAt(ctx, shots[i], began.Add(time.Duration(i)*every))
				if err != nil {
					errs <- err
					return
				}
				mu.Lock()
				sent[shots[i].id] = at
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	close(errs)
	return sent, <-errs
}

// fireAt waits until then and returns when the shot was sent.
func (g *gun) fireAt(ctx context.Context, s shot, then time.Time) (at time.Time, err error) {
	if err := sleep(ctx, time.Until(then)); err != nil {
		return at, err
	}
	at, _, err = g.fire(s)
	return at, err
}
