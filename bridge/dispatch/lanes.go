package dispatch

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// Lane names one consumer of requests.
type Lane struct {
	Pool       kling.Pool
	Generation kling.Generation
	priority   events.Priority
}

// Durable is the name of the lane's consumer.
func (k Lane) Durable() string {
	return fmt.Sprintf("%s-%s-%s", k.Pool, k.Generation, k.PriorityName())
}

// PriorityName is how names and attributes spell the priority.
func (k Lane) PriorityName() string {
	if k.priority == events.PriorityNormal {
		return "normal"
	}
	return string(k.priority)
}

// Lanes lists the consumers of a pool, by generation, most urgent first.
func (in *Intake) Lanes(pool kling.Pool) []Lane {
	var keys []Lane
	for _, g := range kling.Generations() {
		if len(in.filters(Lane{Pool: pool, Generation: g})) == 0 {
			continue
		}
		for _, p := range events.Priorities() {
			keys = append(keys, Lane{Pool: pool, Generation: g, priority: p})
		}
	}
	return keys
}

func (in *Intake) filters(key Lane) []string {
	var filters []string
	for _, k := range in.Kinds.All() {
		if k.Pool == key.Pool && k.Generation == key.Generation {
			filters = append(filters, in.Subjects.Request(k.Name, key.priority))
		}
	}
	return filters
}

func (in *Intake) consumer(ctx context.Context, key Lane) (jetstream.Consumer, error) {
	return in.Bus.EnsureConsumer(ctx, in.Subjects.RequestsStream(), jetstream.ConsumerConfig{
		Durable:        key.Durable(),
		Description:    laneDescription,
		FilterSubjects: in.filters(key),
		AckPolicy:      jetstream.AckExplicitPolicy,
		AckWait:        in.AckWait,
		MaxDeliver:     -1,
		MaxAckPending:  maxHeld,
	})
}

// laneDescription and laneName tell the consumers that a bridge has made from somebody else's.
const laneDescription = "klingbridge: requests on their way to Kling"

var laneName = regexp.MustCompile(`-(high|normal|low)$`)

// AllLanes lists the consumers of all pools.
func (in *Intake) AllLanes() []Lane {
	var keys []Lane
	for _, pool := range in.Kinds.Pools() {
		keys = append(keys, in.Lanes(pool)...)
	}
	return keys
}

// Consumers makes the consumer of every lane. A work queue lets no two of them take the same subject, so each first gives
// up what is another's now: a kind may have moved to another pool since they were made.
//
// While replicas of two versions start, they may take subjects from each other; the error is then one that passes.
func (in *Intake) Consumers(ctx context.Context) error {
	if err := in.narrow(ctx); err != nil {
		return err
	}
	for _, key := range in.AllLanes() {
		if _, err := in.consumer(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// narrow takes from the consumers there are what they should not have. What one of them has delivered, and nobody has
// acked, is delivered again by the next one: it finds its record and goes on from there.
func (in *Intake) narrow(ctx context.Context) error {
	stream := in.Subjects.RequestsStream()
	existing, err := in.Bus.Consumers(ctx, stream)
	if err != nil {
		return err
	}
	wanted := map[string][]string{}
	for _, key := range in.AllLanes() {
		wanted[key.Durable()] = in.filters(key)
	}
	var strangers []string
	for _, c := range existing {
		if c.Description != laneDescription || !laneName.MatchString(c.Durable) {
			strangers = append(strangers, fmt.Sprintf("consumer %s takes %s, want none but the bridge's own (nats consumer rm %s %s)",
				c.Name, takes(c), stream, c.Name))
			continue
		}
		if err := in.narrowOne(ctx, stream, c, wanted[c.Durable]); err != nil {
			return err
		}
	}
	if len(strangers) > 0 {
		return &bus.ConflictError{Stream: stream, Differences: strangers}
	}
	return nil
}

func (in *Intake) narrowOne(ctx context.Context, stream string, c jetstream.ConsumerConfig, wanted []string) error {
	have := filtersOf(c)
	keep := slices.DeleteFunc(slices.Clone(have), func(f string) bool { return !slices.Contains(wanted, f) })
	switch {
	case len(keep) == 0: // its lane is gone, or has other kinds altogether: one without filters would take everything
		return in.Bus.DeleteConsumer(ctx, stream, c.Durable)
	case len(keep) == len(have):
		return nil
	}
	c.FilterSubject, c.FilterSubjects = "", keep
	_, err := in.Bus.EnsureConsumer(ctx, stream, c)
	return err
}

func filtersOf(c jetstream.ConsumerConfig) []string {
	if c.FilterSubject != "" {
		return []string{c.FilterSubject}
	}
	return c.FilterSubjects
}

func takes(c jetstream.ConsumerConfig) string {
	if filters := filtersOf(c); len(filters) > 0 {
		return strings.Join(filters, ", ")
	}
	return "everything"
}
