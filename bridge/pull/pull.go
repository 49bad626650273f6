package pull

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/clock"
)

const (
	// Wait bounds one pull. Long ones save work, and a shutdown does not wait for them.
	Wait = 30 * time.Second
	// RetryPause follows a failed pull.
	RetryPause = 500 * time.Millisecond
)

// Renew makes a consumer again that may have been deleted.
func Renew(ctx context.Context, log *slog.Logger, ensure func() (jetstream.Consumer, error)) {
	if _, err := ensure(); err != nil && ctx.Err() == nil {
		log.DebugContext(ctx, "consumer", slog.Any("err", err)) // every lane tries: readiness tells it once
	}
}

// Leave gives a message back whose record only a newer version understands, until one of its replicas takes it. The wait
// grows, should there be none.
func Leave(msg jetstream.Msg) (wait time.Duration) {
	tries := 1
	if meta, err := msg.Metadata(); err == nil {
		tries = int(meta.NumDelivered)
	}
	wait = clock.Backoff(tries)
	_ = msg.NakWithDelay(wait) // without it the message comes back after the ack wait
	return wait
}
