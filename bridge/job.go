package bridge

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/events"
)

// job is one delivered request in the hands of this replica, from the stream to its ack.
type job struct {
	msg     jetstream.Msg
	req     *request
	size    int        // of the message's body, in bytes
	invalid error      // why the request can't become a task; nil for most
	span    trace.Span // of this delivery
	baggage baggage.Baggage

	slots    *slots    // of its pool
	reserved bool      // holds some of them
	told     bool      // to other replicas
	accepted bool      // as a task at Kling
	waits    time.Time // for slots, as the first that does; zero: it has not
	passed   int       // creates of others before its turn, to be restored if the turn comes to nothing
	noted    bool      // its external id, if it brought one along
	tries    int       // sends that certainly made no task, for the backoff
	rec      *record
	recSeq   uint64 // of rec in the stream; zero while nothing is stored

	delivered uint64    // how often it was delivered
	asked     bool      // Kling, before its first send
	asks      int       // that it did not answer
	cleared   bool      // no pause keeps it from being sent this time
	probes    int       // sends that found what it waits for still paused
	claimedAt time.Time // before the record of the next send was stored, by this machine's clock
	sentAt    time.Time // last
	foreign   int       // answers in a row that were not Kling's, of those that tell something
	foreignAt time.Time // the first of them

	answeredClaim string        // the claim of a send that something before Kling has answered, or Kling's maintenance
	lostSends     bool          // the last word on what became of its sends was spoken
	refusedClaim  string        // the claim of a send that certainly made no task, after one of unknown outcome
	unknownAt     time.Time     // when a send ended with an unknown outcome
	lookups       int           // since then
	refusal       *events.Error // why the request is rejected should Kling not know its task
}

// InProgress implements inHand.
func (j *job) InProgress() error { return j.msg.InProgress() }

// certain counts the sends of a job's record that nothing says were lost on their way back: they made no task for certain,
// were answered by something before Kling or by Kling's maintenance, or were claimed by a replica that died, mostly before it
// sent anything.
func (j *job) certain() int {
	takenOver := j.unknownAt.IsZero()
	if takenOver || j.rec.Claim == j.refusedClaim || j.rec.Claim == j.answeredClaim {
		return j.rec.Certain + 1
	}
	return j.rec.Certain
}

// lastSend is the last send of a job's record that may have reached Kling.
func (j *job) lastSend() time.Time {
	at := j.rec.ClaimedAt
	if j.rec.Claim == j.refusedClaim {
		at = j.rec.EarlierAt
	}
	if j.unknownAt.After(at) {
		return j.unknownAt
	}
	return at
}

// verdict is what becomes of a job after it was worked on.
type verdict struct {
	settled bool          // acked: done with
	full    bool          // Kling had no capacity: waits for a slot
	outbid  bool          // another replica has the slot: nothing was sent
	paused  bool          // waits for the end of a pause, behind the others of its lane
	left    bool          // given back: only a newer version of the bridge knows what to do
	after   time.Duration // otherwise: worked on again after this long
}

func settled() verdict                     { return verdict{settled: true} }
func left() verdict                        { return verdict{left: true} }
func paused() verdict                      { return verdict{paused: true} }
func noCapacity() verdict                  { return verdict{full: true} }
func tryAgain(after time.Duration) verdict { return verdict{after: after} }

// context returns ctx in the trace of this delivery.
func (j *job) context(ctx context.Context) context.Context {
	return baggage.ContextWithBaggage(trace.ContextWithSpan(ctx, j.span), j.baggage)
}

func (j *job) attrs() []any {
	return []any{slog.String("request_id", j.req.id), slog.String("kind", j.req.kind.Name)}
}
