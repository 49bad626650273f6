package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// statusGrace is how long after its expiry a pull is still answered: the server says that it is over.
	statusGrace = time.Second
	// heartbeat is how often the server shows that a long pull is still known. Two that do not come end the pull.
	heartbeat = 5 * time.Second
	// heartbeatFrom is the shortest pull that is worth heartbeats.
	heartbeatFrom = 2 * heartbeat
)

// pull is the body of a request for messages.
type pull struct {
	Batch     int           `json:"batch"`
	Expires   time.Duration `json:"expires"`
	Heartbeat time.Duration `json:"idle_heartbeat,omitempty"`
}

// Fetch asks a durable consumer for up to n messages and calls yield for each of them as it comes. It returns when n have
// come, when wait is over, or when ctx ends. The error is [jetstream.ErrConsumerDeleted] or another one of that package,
// [nats.ErrNoResponders] where there is no such consumer, or [jetstream.ErrNoHeartbeat] where the server has fallen silent.
//
// The client library's own Fetch takes every empty message with a header Status for an answer of the server's, whoever
// published it: that message is never delivered, and ends a pull that others are waiting in. Here a message is what can be
// acked, and an answer of the server's is what can't.
func (b *Bus) Fetch(
	ctx context.Context, stream, durable string, n int, wait time.Duration, yield func(jetstream.Msg),
) error {
	err := b.fetch(ctx, stream, durable, n, wait, yield)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil && !b.Connected() { // which is told as that
		return err
	}
	b.notePull(stream, durable, err)
	if err != nil {
		return fmt.Errorf("fetch from consumer %s of stream %s: %w", durable, stream, err)
	}
	return nil
}

func (b *Bus) fetch(
	ctx context.Context, stream, durable string, n int, wait time.Duration, yield func(jetstream.Msg),
) error {
	request := pull{Batch: n, Expires: wait}
	silence := wait + statusGrace
	if wait >= heartbeatFrom {
		request.Heartbeat, silence = heartbeat, 2*heartbeat
	}
	payload, err := json.Marshal(request)
	if err != nil {
		return err
	}
	answers := make(chan *nats.Msg, n+8) // and the server's own
	inbox := b.nc.NewInbox()
	sub, err := b.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return err
	}
	defer giveBack(sub, answers)
	next := b.API("CONSUMER.MSG.NEXT." + stream + "." + durable)
	if err := b.nc.PublishRequest(next, inbox, payload); err != nil {
		return err
	}
	quiet := time.NewTimer(silence)
	defer quiet.Stop()
	alive := sync.OnceFunc(func() { b.notePull(stream, durable, nil) }) // long before a pull of an idle consumer ends
	for got := 0; got < n; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-quiet.C:
			return jetstream.ErrNoHeartbeat
		case msg := <-answers:
			b.denials.worked(next)
			quiet.Reset(silence)
			if isDelivery(msg) {
				got++
				alive()
				yield(delivery{msg})
				continue
			}
			if over, err := pullStatus(msg); over {
				return err
			}
			alive()
		}
	}
	return nil
}

// giveBack ends a pull's subscription and returns what was delivered to it but not taken.
func giveBack(sub *nats.Subscription, answers <-chan *nats.Msg) {
	_ = sub.Unsubscribe() // fails only where the connection is closed
	for {
		select {
		case msg := <-answers:
			if isDelivery(msg) {
				_ = msg.Nak() // without it the message comes back after the ack wait
			}
		default:
			return
		}
	}
}

// isDelivery tells a message of the stream from an answer of the server's, which asks for no ack.
func isDelivery(msg *nats.Msg) bool { return msg.Reply != "" }

// pullStatus reports whether an answer of the server's ends the pull, and as what.
func pullStatus(msg *nats.Msg) (over bool, err error) {
	status, description := msg.Header.Get("Status"), msg.Header.Get("Description")
	switch status {
	case "100": // a heartbeat
		return false, nil
	case "404", "408": // nothing there, or not in time
		return true, nil
	case "409":
		return true, pullConflict(description)
	case "503":
		return true, nats.ErrNoResponders
	default:
		return true, errors.New(strings.TrimSpace("status " + status + " " + description))
	}
}

// pullConflict is why a pull was ended; nil: it has brought all that it may.
func pullConflict(description string) error {
	has := func(text string) bool { return strings.Contains(strings.ToLower(description), text) }
	switch {
	case has("batch completed"), has("maxbytes"):
		return nil
	case has("consumer deleted"):
		return jetstream.ErrConsumerDeleted
	case has("leadership change"):
		return jetstream.ErrConsumerLeadershipChanged
	case has("server shutdown"):
		return jetstream.ErrServerShutdown
	default:
		return errors.New(strings.TrimSpace("status 409 " + description))
	}
}

// delivery is a message of a consumer.
type delivery struct{ msg *nats.Msg }

// Metadata implements [jetstream.Msg].
func (d delivery) Metadata() (*jetstream.MsgMetadata, error) {
	meta, err := d.msg.Metadata()
	if err != nil {
		return nil, err
	}
	return &jetstream.MsgMetadata{
		Sequence:     jetstream.SequencePair{Consumer: meta.Sequence.Consumer, Stream: meta.Sequence.Stream},
		NumDelivered: meta.NumDelivered,
		NumPending:   meta.NumPending,
		Timestamp:    meta.Timestamp,
		Stream:       meta.Stream,
		Consumer:     meta.Consumer,
		Domain:       meta.Domain,
	}, nil
}

// Data implements [jetstream.Msg].
func (d delivery) Data() []byte { return d.msg.Data }

// Headers implements [jetstream.Msg].
func (d delivery) Headers() nats.Header { return d.msg.Header }

// Subject implements [jetstream.Msg].
func (d delivery) Subject() string { return d.msg.Subject }

// Reply implements [jetstream.Msg].
func (d delivery) Reply() string { return d.msg.Reply }

// Ack implements [jetstream.Msg].
func (d delivery) Ack() error { return d.msg.Ack() }

// DoubleAck implements [jetstream.Msg].
func (d delivery) DoubleAck(ctx context.Context) error { return d.msg.AckSync(nats.Context(ctx)) }

// Nak implements [jetstream.Msg].
func (d delivery) Nak() error { return d.msg.Nak() }

// NakWithDelay implements [jetstream.Msg].
func (d delivery) NakWithDelay(delay time.Duration) error { return d.msg.NakWithDelay(delay) }

// InProgress implements [jetstream.Msg].
func (d delivery) InProgress() error { return d.msg.InProgress() }

// Term implements [jetstream.Msg].
func (d delivery) Term() error { return d.msg.Term() }

// TermWithReason implements [jetstream.Msg].
func (d delivery) TermWithReason(reason string) error {
	return d.msg.Respond([]byte("+TERM " + reason))
}
