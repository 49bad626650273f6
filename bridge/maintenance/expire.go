package maintenance

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// Expirer ends requests whose deadline passes while they are still in the stream, waiting for capacity, where no consumer
// sees them. Every replica does so; the completion's guard makes it happen once.
type Expirer struct {
	Stream *request.Stream
	Store  *store.Store
	Log    *slog.Logger
}

const (
	// expirySweep is how often the stream is looked at. A request expires at most this much late, and never before it
	// has waited for patience.
	expirySweep = 15 * time.Second
	patience    = 20 * time.Second
)

// Run sweeps until ctx ends.
func (x *Expirer) Run(ctx context.Context) {
	for clock.Sleep(ctx, expirySweep) {
		if err := x.sweep(ctx, x.Store.Now()); err != nil && ctx.Err() == nil {
			x.Log.WarnContext(ctx, "sweep of waiting requests", slog.Any("err", err))
		}
	}
}

func (x *Expirer) sweep(ctx context.Context, now time.Time) error {
	readErr := errors.Join(x.Stream.Read(ctx, now.Add(-patience)), x.Stream.Prune(ctx))
	for {
		next, ok := x.Stream.FirstDeadline()
		if !ok || now.Before(next.At) {
			return readErr
		}
		if err := x.expire(ctx, next.Seq); err != nil {
			return errors.Join(readErr, err)
		}
		x.Stream.Passed(next)
	}
}

// expire ends a request that is still in the stream and that nothing is known of.
func (x *Expirer) expire(ctx context.Context, seq uint64) error {
	r, err := x.Stream.At(ctx, seq)
	switch {
	case err != nil || r == nil:
		return err
	case r.Invalid != nil:
		return x.Store.RejectWaiting(ctx, r)
	default:
		_, err = x.Store.SettleWaiting(ctx, r, store.Expired())
		return err
	}
}
