package bus

import (
	"context"
	"errors"
	"fmt"
	"time"

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
	readAhead     = 256         // messages
	readAheadBare = 4 << 10     // messages without data
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
	if consumer.CachedInfo().NumPending == 0 {
		return nil
	}
	ahead := readAhead
	if s.HeadersOnly {
		ahead = readAheadBare
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(ahead))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for delivered := uint64(1); ; delivered++ {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return err
		}
		meta, err := msg.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != delivered {
			return errGap
		}
		yield(&Message{
			Subject: msg.Subject(), Seq: meta.Sequence.Stream, Header: msg.Headers(), Data: msg.Data(), Time: meta.Timestamp,
		})
		if meta.NumPending == 0 {
			return nil
		}
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
