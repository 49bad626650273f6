package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

func (c *Client) newHandler(
	ctx context.Context, durable string, f Filter, how Handling, handle func(context.Context, Message) error,
) (*handler, error) {
	if durable != "" && !IsToken(durable) {
		return nil, errors.New("durable name: want 1 to 64 of A-Z a-z 0-9 _ -")
	}
	if slices.Contains(bridgeConsumers, durable) {
		return nil, fmt.Errorf("%w: consumer %s is the bridge's own", ErrNotMine, durable)
	}
	if len(f.Types) == 0 {
		f.Types = []Type{TypeCompletion}
	}
	subjects, err := f.subjects(c.subjects)
	if err != nil {
		return nil, err
	}
	h := &handler{Client: c, how: how.withDefaults(), handle: handle}
	for {
		h.consumer, err = c.durableConsumer(ctx, durable, subjects, f, how)
		if err == nil {
			h.failures.most = max(h.consumer.CachedInfo().Config.MaxAckPending, defaultPending)
			h.how.Ready()
		}
		if err == nil || permanent(err) || !transient(err) {
			return h, err
		}
		if wait(ctx, retryWait) != nil {
			return nil, ended(ctx, err)
		}
	}
}

func (h Handling) withDefaults() Handling {
	if h.AtATime == 0 {
		h.AtATime = handledAtATime
	}
	if h.Tries == 0 {
		h.Tries = handleTries
	}
	if h.SetAside == nil {
		h.SetAside = logSetAside
	}
	if h.Ready == nil {
		h.Ready = func() {}
	}
	return h
}

// durableConsumer makes the consumer, or takes one that is there to the filter: where it began stays as it is.
func (c *Client) durableConsumer(
	ctx context.Context, durable string, subjects []string, f Filter, how Handling,
) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	var err error = jetstream.ErrConsumerNotFound
	var known jetstream.Consumer
	if durable != "" {
		known, err = c.js.Consumer(ctx, c.subjects.EventsStream(), durable)
	}
	if err == nil {
		return c.takeConsumer(ctx, known, subjects, how)
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, c.noStream(err)
	}
	consumer, err := c.js.CreateConsumer(ctx, c.subjects.EventsStream(), filtered(newConsumer(durable, f, how), subjects))
	if _, refused := errors.AsType[*jetstream.APIError](err); refused && durable != "" { // another process was first
		if known, lookErr := c.js.Consumer(ctx, c.subjects.EventsStream(), durable); lookErr == nil {
			return c.takeConsumer(ctx, known, subjects, how)
		}
	}
	return consumer, c.noStream(err)
}

// bridgeConsumers are the names of the bridge's own consumers of events, whether they are there or not: one that is switched on
// later would take a consumer of its name for its own, with what somebody else has read from it already.
var bridgeConsumers = []string{"archive", "polls"}

// bridgeConsumer begins the descriptions of the bridge's own consumers. A bridge loses its timers, or results that are to be
// archived, when somebody else reads from them.
const bridgeConsumer = "klingbridge: "

func (c *Client) takeConsumer(
	ctx context.Context, known jetstream.Consumer, subjects []string, how Handling,
) (jetstream.Consumer, error) {
	config := known.CachedInfo().Config
	switch {
	case strings.HasPrefix(config.Description, bridgeConsumer):
		return nil, fmt.Errorf("%w: consumer %s is the bridge's own (%s)", ErrNotMine, config.Durable, config.Description)
	case how.Mark != "" && config.Metadata[how.Mark] == "":
		return nil, ErrNotMine
	case slices.Equal(filtersOf(config), subjects):
		return known, nil
	}
	consumer, err := c.js.CreateOrUpdateConsumer(ctx, c.subjects.EventsStream(), filtered(config, subjects))
	return consumer, c.noStream(err)
}

func filtered(config jetstream.ConsumerConfig, subjects []string) jetstream.ConsumerConfig {
	config.FilterSubject, config.FilterSubjects = "", subjects
	if len(subjects) == 1 { // so that it is part of the API subject, where permissions can see it
		config.FilterSubject, config.FilterSubjects = subjects[0], nil
	}
	return config
}

// newConsumer is one that does not exist yet, but for what it filters.
func newConsumer(durable string, f Filter, how Handling) jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		Durable: durable, AckPolicy: jetstream.AckExplicitPolicy, AckWait: handleAckWait,
		MaxDeliver: -1, MaxAckPending: how.Pending, DeliverPolicy: jetstream.DeliverNewPolicy,
	}
	if durable == "" {
		config.InactiveThreshold = handleIdle
	}
	if how.Mark != "" {
		config.Metadata = map[string]string{how.Mark: "1"}
	}
	switch {
	case f.FromStart:
		config.DeliverPolicy = jetstream.DeliverAllPolicy
	case !f.Since.IsZero():
		config.DeliverPolicy, config.OptStartTime = jetstream.DeliverByStartTimePolicy, &f.Since
	}
	return config
}

// noStream makes ErrNoBridge of the answers that mean it.
func (*Client) noStream(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) || noJetStream(err) {
		return fmt.Errorf("%w: %w", ErrNoBridge, err)
	}
	return err
}

func filtersOf(config jetstream.ConsumerConfig) []string {
	if config.FilterSubject != "" {
		return []string{config.FilterSubject}
	}
	return slices.Sorted(slices.Values(config.FilterSubjects))
}
