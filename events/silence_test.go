package events

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// deadConsumer is one whose server is gone for good: pulls miss their heartbeats, and no question is answered. It can't be had
// of a real server without a minute of waiting.
type deadConsumer struct {
	jetstream.Consumer
	durable string
	answers func() bool
}

func (c *deadConsumer) Messages(...jetstream.PullMessagesOpt) (jetstream.MessagesContext, error) {
	return &deadPull{}, nil
}

func (c *deadConsumer) CachedInfo() *jetstream.ConsumerInfo {
	return &jetstream.ConsumerInfo{Config: jetstream.ConsumerConfig{Durable: c.durable}}
}

func (c *deadConsumer) Info(ctx context.Context) (*jetstream.ConsumerInfo, error) {
	if c.answers() {
		return c.CachedInfo(), nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

type deadPull struct {
	jetstream.MessagesContext
	drained bool
}

func (p *deadPull) Next(...jetstream.NextOpt) (jetstream.Msg, error) {
	if p.drained {
		return nil, jetstream.ErrMsgIteratorClosed
	}
	<-time.After(2 * heartbeat)
	return nil, jetstream.ErrNoHeartbeat
}

func (p *deadPull) Drain() { p.drained = true }

func (p *deadPull) Stop() {}

func TestHandleNoticesThatItsServerIsGone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		durable string
		answers time.Duration // that long the consumer is there
		want    error
		after   time.Duration
	}{
		"without a name":           {want: jetstream.ErrNoHeartbeat, after: handleIdle},
		"after it answered longer": {answers: time.Hour, want: jetstream.ErrNoHeartbeat, after: time.Hour + handleIdle},
		"of a name, which waits":   {durable: "videos", want: context.DeadlineExceeded, after: 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 24*time.Hour)
				defer cancel()
				h := &handler{consumer: &deadConsumer{durable: c.durable, answers: func() bool { return time.Since(began) < c.answers }}}
				err := h.work(ctx)
				if took := time.Since(began); !errors.Is(err, c.want) || took < c.after || took > c.after+time.Minute {
					t.Errorf("%v after %s, want %v after %s", err, took, c.want, c.after)
				}
			})
		})
	}
}
