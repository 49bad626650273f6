package bridge

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// expirer ends requests whose deadline passes while they are still in the stream, waiting for capacity, where no consumer
// sees them. Every replica does so; the completion's guard makes it happen once.
type expirer struct {
	stream *request.Stream
	ledger *store.Store
	log    *slog.Logger
}

const (
	// expirySweep is how often the stream is looked at. A request expires at most this much late, and never before it
	// has waited for patience.
	expirySweep = 15 * time.Second
	patience    = 20 * time.Second
)

// run sweeps until ctx ends.
func (x *expirer) run(ctx context.Context) {
	for clock.Sleep(ctx, expirySweep) {
		if err := x.sweep(ctx, x.ledger.Now()); err != nil && ctx.Err() == nil {
			x.log.WarnContext(ctx, "sweep of waiting requests", slog.Any("err", err))
		}
	}
}

func (x *expirer) sweep(ctx context.Context, now time.Time) error {
	readErr := errors.Join(x.stream.Read(ctx, now.Add(-patience)), x.stream.Prune(ctx))
	for {
		next, ok := x.stream.FirstDeadline()
		if !ok || now.Before(next.At) {
			return readErr
		}
		if err := x.expire(ctx, next.Seq); err != nil {
			return errors.Join(readErr, err)
		}
		x.stream.Passed(next)
	}
}

// expire ends a request that is still in the stream and that nothing is known of.
func (x *expirer) expire(ctx context.Context, seq uint64) error {
	r, err := x.stream.At(ctx, seq)
	switch {
	case err != nil || r == nil:
		return err
	case r.Invalid != nil:
		return x.ledger.RejectWaiting(ctx, r)
	default:
		_, err = x.ledger.SettleWaiting(ctx, r, store.Expired())
		return err
	}
}
