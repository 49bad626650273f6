package bridge

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/request"
)

// job is one delivered request in the hands of this replica, from the stream to its ack. It is what a pool needs to know;
// what creating its task needs is the attempt's.
type job struct {
	msg       jetstream.Msg
	req       *request.Request
	size      int        // of the message's body, in bytes
	invalid   error      // why the request can't become a task; nil for most
	delivered uint64     // how often it was delivered
	span      trace.Span // of this delivery
	baggage   baggage.Baggage
	work      func() result // one step of it

	slots    *slots    // of its pool
	reserved bool      // holds some of them
	holds    bool      // keeps them while it waits: a send may have made a task
	told     bool      // to other replicas
	taken    bool      // as a task at Kling
	waits    time.Time // for slots, as the first that does; zero: it has not
	passed   int       // creates of others before its turn, to be restored if the turn comes to nothing
	cleared  bool      // no pause keeps it from being sent this time
	probes   int       // sends that found what it waits for still paused
}

// InProgress implements inHand.
func (j *job) InProgress() error { return j.msg.InProgress() }

// accepted tells that Kling has made the task: its slots are held until it ends.
func (j *job) accepted() {
	j.taken = true
	j.slots.accepted(j.req.Token)
}

// suspect tells that a send may have made the task.
func (j *job) suspect() { j.slots.suspect(j.req.Token) }

// maySend reports whether the job may be sent now. Most were let through by their pool. One that holds slots was only let
// through to be looked up.
func (j *job) maySend(p *pauses, now time.Time) bool {
	if !j.cleared {
		j.cleared = p.allowForeign(j.req.Kind, now)
	}
	return j.cleared
}

// context returns ctx in the trace of this delivery.
func (j *job) context(ctx context.Context) context.Context {
	return baggage.ContextWithBaggage(trace.ContextWithSpan(ctx, j.span), j.baggage)
}

// attrs name the job in the log.
func (j *job) attrs() []any {
	return []any{slog.String("request_id", j.req.ID), slog.String("kind", j.req.Kind.Name)}
}

// result is what becomes of a job after a step of work. Make it with one of the functions below.
type result struct {
	outcome resultKind
	after   time.Duration // of tryAgain
	holds   bool          // the job keeps its slots while it waits
}

type resultKind int

const (
	resultSettled resultKind = iota
	resultFull
	resultOutbid
	resultPaused
	resultLeft
	resultAgain
)

// settled says that it was acked and is done with.
func settled() result { return result{outcome: resultSettled} }

// noCapacity says that Kling had none: it waits for a slot.
func noCapacity() result { return result{outcome: resultFull} }

// outbid says that another replica has the slot: nothing was sent.
func outbid() result { return result{outcome: resultOutbid} }

// paused says that it waits for the end of a pause, behind the others of its lane.
func paused() result { return result{outcome: resultPaused} }

// left says that it was given back, as only a newer version of the bridge knows what to do.
func left() result { return result{outcome: resultLeft} }

// tryAgain says that it is worked on again after that time.
func tryAgain(after time.Duration) result { return result{outcome: resultAgain, after: after} }

// holding says whether the job keeps its slots while it waits.
func (r result) holding(slots bool) result {
	r.holds = slots
	return r
}
