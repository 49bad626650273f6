package events

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	apiTimeout   = 5 * time.Second        // of one call to JetStream
	closeTimeout = 2 * time.Second        // to delete a consumer; the server forgets it by itself a little later
	retryWait    = 100 * time.Millisecond // between tries
	consumerIdle = 30 * time.Second       // after which the server deletes a consumer nobody reads
	readAhead    = 64                     // messages
	heartbeat    = 5 * time.Second        // without two in a row the consumer, or the way to it, is taken to be gone
)

// errGap says that a message was sent to this consumer but did not arrive.
var errGap = errors.New("a message was lost on its way")

// reader reads messages of a stream in order, each once. Its consumer is only good for one connection: whenever a
// message may have been lost, the next consumer starts after the last message that was seen.
//
// It stands in for the ordered consumer of the jetstream package (nats.go 1.55). That one starts anew at the stream's
// end when it is reset before its first message, and its Stop waits for a reset under way, which takes as long as the
// server is away.
type reader struct {
	nc      *nats.Conn
	js      jetstream.JetStream
	stream  string
	filters []string
	start   jetstream.ConsumerConfig // where the first consumer starts
	last    uint64                   // stream sequence of the last message seen
	found   bool                     // the stream has answered once
}

// messages yields until the caller stops or there is an error, which comes last.
func (r *reader) messages(ctx context.Context) iter.Seq2[jetstream.Msg, error] {
	return func(yield func(jetstream.Msg, error) bool) {
		for {
			err := r.readConnection(ctx, func(msg jetstream.Msg) bool { return yield(msg, nil) })
			if err == nil {
				return
			}
			if permanent(err) {
				yield(nil, err)
				return
			}
			if wait(ctx, retryWait) != nil {
				yield(nil, ended(ctx, err))
				return
			}
		}
	}
}

// permanent reports whether there is no point in another try.
func permanent(err error) bool {
	for _, target := range []error{ErrNoBridge, nats.ErrConnectionClosed, nats.ErrConnectionDraining} {
		if errors.Is(err, target) {
			return true
		}
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && api.Code == 400
}

// readConnection reads until the caller stops, which is no error, or the connection is made anew.
func (r *reader) readConnection(ctx context.Context, yield func(jetstream.Msg) bool) error {
	ctx, stopWatching := r.untilReconnect(ctx)
	defer stopWatching()

	consumer, err := r.newConsumer(ctx)
	if err != nil {
		return err
	}
	defer r.delete(ctx, consumer)

	messages, err := consumer.Messages(jetstream.PullMaxMessages(readAhead), jetstream.PullHeartbeat(heartbeat))
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
		r.last = meta.Sequence.Stream
		if !yield(msg) {
			return nil
		}
	}
}

// untilReconnect returns a context that ends when the connection comes back. What was on its way when it broke is lost.
func (r *reader) untilReconnect(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	connected := r.nc.StatusChanged(nats.CONNECTED)
	var wg sync.WaitGroup
	wg.Go(func() {
		<-connected // or closed by stop
		cancel()
	})
	return ctx, func() {
		r.nc.RemoveStatusListener(connected)
		wg.Wait()
	}
}

func (r *reader) newConsumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	config := r.start
	if r.last > 0 {
		config = jetstream.ConsumerConfig{DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: r.last + 1}
	}
	config.AckPolicy = jetstream.AckNonePolicy
	config.InactiveThreshold = consumerIdle
	config.MemoryStorage = true
	config.Replicas = 1
	if len(r.filters) == 1 {
		config.FilterSubject = r.filters[0] // so that it is part of the API subject, where permissions can see it
	} else {
		config.FilterSubjects = r.filters
	}
	consumer, err := r.js.CreateConsumer(ctx, r.stream, config)
	if err != nil {
		return nil, r.streamError(err)
	}
	r.found = true
	return consumer, nil
}

// streamError turns the answers that mean a missing stream into ErrNoBridge. A silent API means it only at first: later
// it may be a leader election.
func (r *reader) streamError(err error) error {
	err = fmt.Errorf("read stream %s: %w", r.stream, err)
	if errors.Is(err, jetstream.ErrStreamNotFound) || !r.found && noJetStream(err) {
		return fmt.Errorf("%w: %w", ErrNoBridge, err)
	}
	return err
}

// delete frees the consumer at once where the server can be reached; elsewhere the server deletes it when idle.
func (r *reader) delete(ctx context.Context, consumer jetstream.Consumer) {
	if !r.nc.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = r.js.DeleteConsumer(ctx, r.stream, consumer.CachedInfo().Name)
}

func noJetStream(err error) bool {
	return errors.Is(err, nats.ErrNoResponders) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) ||
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount)
}

// wait returns nil after d, or earlier an error when ctx ends.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ended says why ctx ended, and what stood in the way until then where that says more.
func ended(ctx context.Context, last error) error {
	if errors.Is(last, context.Canceled) || errors.Is(last, context.DeadlineExceeded) {
		return context.Cause(ctx)
	}
	return fmt.Errorf("%w, last: %w", context.Cause(ctx), last)
}
