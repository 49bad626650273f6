package dispatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/baggage"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// Intake takes requests off the stream. There is a durable consumer for each pool, API generation and priority, so that
// no pool waits for another, a paused generation does not hold up the other, and urgent requests overtake. Requests
// that wait for capacity stay in the stream; a replica holds only as many as it could start soon.
type Intake struct {
	Bus       *bus.Bus
	Subjects  subjects.Subjects
	Kinds     kling.Kinds
	Telemetry *telemetry.Tracer
	Metrics   *Metrics
	Log       *slog.Logger

	Defaults request.Defaults // of requests
	AckWait  time.Duration
}

const (
	// maxHeld is how many requests of one lane may be unacked over all replicas.
	maxHeld = 10_000
)

// Pull fetches requests of one lane into the pool, as many as it has room for, until ctx ends.
func (in *Intake) Pull(ctx context.Context, key Lane, p *Pool) {
	for ctx.Err() == nil {
		room, ok := p.waitForRoom(ctx, key)
		if !ok {
			return
		}
		err := in.fetch(ctx, key, room, p)
		pull.Recover(ctx, in.Log, key.Durable(), err, func() (jetstream.Consumer, error) { return in.consumer(ctx, key) })
	}
}

func (in *Intake) fetch(ctx context.Context, key Lane, n int, p *Pool) error {
	return in.Bus.Fetch(ctx, in.Subjects.RequestsStream(), key.Durable(), n, pull.Wait, func(msg jetstream.Msg) {
		if j := in.newJob(ctx, msg); j != nil {
			p.add(j)
		}
	})
}

// newJob reads a delivered message. One that is no request at all can't be answered and is only reported: no subject of
// the stream leads here.
func (in *Intake) newJob(ctx context.Context, msg jetstream.Msg) *Job {
	parsed, ok := in.Subjects.Parse(msg.Subject())
	kind, known := in.Kinds.Lookup(parsed.Kind)
	meta, err := msg.Metadata()
	if !ok || !known || err != nil {
		in.Log.ErrorContext(ctx, "not a request", slog.String("subject", msg.Subject()), slog.Any("err", err))
		return nil
	}
	req, invalid := request.Parse(request.Raw{
		Kind:     kind,
		Priority: parsed.Priority,
		Header:   msg.Headers(),
		Data:     msg.Data(),
		Sequence: meta.Sequence.Stream,
		StoredAt: meta.Timestamp,
	}, in.Defaults)
	ctx, span := in.span(ctx, msg, req)
	if meta.NumDelivered == 1 && req.Fence == "" {
		in.received(ctx, req)
	}
	return &Job{
		Msg: msg, size: len(msg.Data()), Delivered: meta.NumDelivered, Req: req, Invalid: invalid,
		span: span, baggage: baggage.FromContext(ctx),
	}
}
