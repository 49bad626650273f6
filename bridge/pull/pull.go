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
	// retryPause follows a failed pull.
	retryPause = 500 * time.Millisecond
)

// Recover follows a pull of the named consumer that failed: it waits for a moment, and makes the consumer again, which may
// have been deleted. Where ctx is what ended the pull it does nothing.
func Recover(ctx context.Context, log *slog.Logger, consumer string, failed error, ensure func() (jetstream.Consumer, error)) {
	if failed == nil || ctx.Err() != nil {
		return
	}
	log.DebugContext(ctx, "pull", slog.String("consumer", consumer), slog.Any("err", failed))
	if !clock.Sleep(ctx, retryPause) {
		return
	}
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
