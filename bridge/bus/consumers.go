package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// Error codes of the server about consumers.
const (
	// CodeNotUnique is the server's error code for a consumer of a work queue that would share messages with another one.
	CodeNotUnique = 10100
	// codeTooManyPending is that for more unacked messages than account, server or stream allow a consumer.
	codeTooManyPending = 10121
)

// EnsureConsumer creates the durable consumer or updates its settings. Where fewer unacked messages are allowed than
// wanted, it makes do with those.
func (b *Bus) EnsureConsumer(ctx context.Context, stream string, want jetstream.ConsumerConfig) (jetstream.Consumer, error) {
	c, err := b.js.CreateOrUpdateConsumer(ctx, stream, want)
	if most, ok := mostPending(err); ok && most < want.MaxAckPending {
		want.MaxAckPending = most
		c, err = b.js.CreateOrUpdateConsumer(ctx, stream, want)
	}
	if err != nil {
		return nil, fmt.Errorf("consumer %s of stream %s: %w", want.Durable, stream, err)
	}
	return c, nil
}

// mostPending reads the number at the end of the server's refusal, "consumer max ack pending exceeds system limit of 1000".
// Only there are all limits taken together: the account is not told of those of the server.
func mostPending(err error) (most int, ok bool) {
	refused, isAPI := errors.AsType[*jetstream.APIError](err)
	if !isAPI || refused.ErrorCode != codeTooManyPending {
		return 0, false
	}
	most, err = strconv.Atoi(refused.Description[strings.LastIndex(refused.Description, " ")+1:])
	return most, err == nil && most > 0
}

// Consumers lists the consumers of a stream.
func (b *Bus) Consumers(ctx context.Context, stream string) ([]jetstream.ConsumerConfig, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("consumers of stream %s: %w", stream, err)
	}
	list := s.ListConsumers(ctx)
	var all []jetstream.ConsumerConfig
	for info := range list.Info() {
		all = append(all, info.Config)
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("consumers of stream %s: %w", stream, err)
	}
	return all, nil
}

// DeleteConsumer deletes a consumer. That it is already gone is no error.
func (b *Bus) DeleteConsumer(ctx context.Context, stream, name string) error {
	err := b.js.DeleteConsumer(ctx, stream, name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return fmt.Errorf("delete consumer %s of stream %s: %w", name, stream, err)
	}
	return nil
}
