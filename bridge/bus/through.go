package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Selection says which messages of a stream [Bus.ReadThrough] reads.
type Selection struct {
	Subjects    []string  // literals or filters that don't overlap
	From        uint64    // from this sequence on; zero: Since counts
	Since       time.Time // stored at or after this time; zero: from the stream's beginning
	HeadersOnly bool      // without data, which the server then does not send
}

// errGap says that a message was sent to this consumer but did not arrive.
var errGap = errors.New("a message was lost on its way")

const (
	readBatch     = 256              // messages
	readBatchBare = 4 << 10          // messages without data
	readWait      = 2 * time.Second  // for a batch that is there
	readPatience  = 10 * time.Second // in which some batch has to come
	readPause     = 20 * time.Millisecond
	consumerIdle  = time.Minute // after which the server deletes a consumer that could not be deleted
)

// ReadThrough calls yield for every message that is selected, oldest first, until the stream's end is reached. For many
// messages it is the fastest way; for a few [Bus.Scan] is, which makes no consumer. After an error, such as the end of
// ctx, the caller may go on after the last message it was given.
func (b *Bus) ReadThrough(ctx context.Context, stream string, s Selection, yield func(*Message)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read through stream %s: %w", stream, err)
		}
	}()
	consumer, err := b.js.CreateConsumer(ctx, stream, s.consumer())
	if err != nil {
		return err
	}
	defer b.deleteConsumer(ctx, stream, consumer.CachedInfo().Name)
	r := reading{consumer: consumer, pending: consumer.CachedInfo().NumPending, batch: readBatch, yield: yield}
	if s.HeadersOnly {
		r.batch = readBatchBare
	}
	for last := time.Now(); r.pending > 0; {
		before := r.delivered
		if err := r.next(ctx, b, stream); err != nil {
			return err
		}
		if r.delivered > before {
			last = time.Now()
		} else if time.Since(last) > readPatience {
			return jetstream.ErrNoHeartbeat
		}
	}
	return nil
}

// reading is one reading of a stream, a batch at a time.
type reading struct {
	consumer  jetstream.Consumer
	pending   uint64 // messages that are still to come
	delivered uint64
	batch     int
	yield     func(*Message)
}

// next reads a batch. The first pulls from a new consumer of a cluster may get lost: other servers learn of it a moment
// after the client does.
func (r *reading) next(ctx context.Context, b *Bus, stream string) error {
	before, n := r.delivered, min(uint64(r.batch), r.pending)
	var failed error
	err := b.fetch(ctx, stream, r.consumer.CachedInfo().Name, int(n), readWait, func(msg jetstream.Msg) {
		if failed == nil {
			failed = r.take(msg)
		}
	})
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case failed != nil:
		return failed
	case errors.Is(err, nats.ErrNoResponders):
		return rest(ctx, readPause)
	case err != nil && !errors.Is(err, jetstream.ErrNoHeartbeat):
		return err
	case r.delivered > before:
		return nil
	}
	info, err := r.consumer.Info(ctx) // what was there may have been deleted
	if err == nil {
		r.pending = info.NumPending
	}
	return err
}

func (r *reading) take(msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return err
	}
	if r.delivered++; meta.Sequence.Consumer != r.delivered {
		return errGap
	}
	r.pending = meta.NumPending
	r.yield(&Message{
		Subject: msg.Subject(), Seq: meta.Sequence.Stream, Header: msg.Headers(), Data: msg.Data(), Time: meta.Timestamp,
	})
	return nil
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

func (s Selection) consumer() jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		FilterSubjects:    s.Subjects,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		HeadersOnly:       s.HeadersOnly,
		InactiveThreshold: consumerIdle,
	}
	switch {
	case s.From > 0:
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverByStartSequencePolicy, s.From
	case !s.Since.IsZero():
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &s.Since
	}
	return config
}

// deleteConsumer frees a consumer at once; where that fails the server does it when it is idle.
func (b *Bus) deleteConsumer(ctx context.Context, stream, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = b.js.DeleteConsumer(ctx, stream, name)
}
