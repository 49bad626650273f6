package doctor

import (
	"context"
	"slices"

	"github.com/klingbridge/klingbridge/bridge"
)

// natsClock compares this machine's clock with the NATS server's, which dates its answer about a stream.
func (e *examination) natsClock(ctx context.Context) []Finding {
	i := slices.IndexFunc(e.streams, func(s bridge.StreamState) bool { return s.Replicas > 0 })
	if i < 0 {
		return skipped("the NATS server tells the time with a stream, and none is there yet")
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	if err := e.bus.SyncClock(ctx, e.streams[i].Name); err != nil {
		return warning(err.Error(), "")
	}
	if apart := bridge.ClocksApart(e.bus.ClockOffset()); apart != "" {
		return warning(apart, "synchronise both (NTP); a bridge here goes by the server's clock, other programs and the log do not")
	}
	return ok("agrees with the NATS server's")
}
