package bridge

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/baggage"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// intake takes requests off the stream. There is a durable consumer for each pool, API generation and priority, so that
// no pool waits for another, a paused generation does not hold up the other, and urgent requests overtake. Requests
// that wait for capacity stay in the stream; a replica holds only as many as it could start soon.
type intake struct {
	bus       *bus.Bus
	subjects  events.Subjects
	kinds     kling.Kinds
	telemetry *telemetry.Tracer
	metrics   *dispatchMetrics
	log       *slog.Logger

	taskTimeout time.Duration
	ackWait     time.Duration
}

const (
	// maxHeld is how many requests of one lane may be unacked over all replicas.
	maxHeld = 10_000
)

// pull fetches requests of one lane into the pool, as many as it has room for, until ctx ends.
func (in *intake) pull(ctx context.Context, key laneKey, p *pool) {
	for ctx.Err() == nil {
		room, ok := p.waitForRoom(ctx, key)
		if !ok {
			return
		}
		err := in.fetch(ctx, key, room, p)
		if err != nil && ctx.Err() == nil {
			in.log.DebugContext(ctx, "fetch requests", slog.String("consumer", key.durable()), slog.Any("err", err))
			clock.Sleep(ctx, pull.RetryPause)
			pull.Renew(ctx, in.log, func() (jetstream.Consumer, error) { return in.consumer(ctx, key) })
		}
	}
}

func (in *intake) fetch(ctx context.Context, key laneKey, n int, p *pool) error {
	return in.bus.Fetch(ctx, in.subjects.RequestsStream(), key.durable(), n, pull.Wait, func(msg jetstream.Msg) {
		if j := in.newJob(ctx, msg); j != nil {
			p.add(j)
		}
	})
}

// newJob reads a delivered message. One that is no request at all can't be answered and is only reported: no subject of
// the stream leads here.
func (in *intake) newJob(ctx context.Context, msg jetstream.Msg) *job {
	parsed, ok := in.subjects.Parse(msg.Subject())
	kind, known := in.kinds.Lookup(parsed.Kind)
	meta, err := msg.Metadata()
	if !ok || !known || err != nil {
		in.log.ErrorContext(ctx, "not a request", slog.String("subject", msg.Subject()), slog.Any("err", err))
		return nil
	}
	req, invalid := request.Parse(request.Raw{
		Kind:     kind,
		Priority: parsed.Priority,
		Header:   msg.Headers(),
		Data:     msg.Data(),
		Sequence: meta.Sequence.Stream,
		StoredAt: meta.Timestamp,
	}, in.taskTimeout)
	ctx, span := in.span(ctx, msg.Headers(), req)
	if meta.NumDelivered == 1 {
		in.received(ctx, req)
	}
	return &job{
		msg: msg, size: len(msg.Data()), delivered: meta.NumDelivered, req: req, invalid: invalid,
		span: span, baggage: baggage.FromContext(ctx),
	}
}
