package dispatch

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/request"
)

// Job is one delivered request in the hands of this replica, from the stream to its ack. It is what a pool needs to know;
// what creating its task needs is the attempt's.
type Job struct {
	Msg       jetstream.Msg
	Req       *request.Request
	size      int        // of the message's body, in bytes
	Invalid   error      // why the request can't become a task; nil for most
	Delivered uint64     // how often it was delivered
	span      trace.Span // of this delivery
	baggage   baggage.Baggage
	work      func() Result // one step of it

	pool     *Pool
	share    *Share    // of the account that it was given; nil: none yet
	bound    string    // the account that may have its task: it goes to no other; empty: none
	reserved bool      // holds slots of its share
	holds    bool      // keeps them while it waits: a send may have made a task
	told     bool      // to other replicas
	taken    bool      // as a task at Kling
	waits    time.Time // for slots, as the first that does; zero: it has not
	freed    time.Time // the slots that it has got; zero: nobody waited for them
	passed   int       // creates of others before its turn, to be restored if the turn comes to nothing
	cleared  bool      // no pause keeps it from being sent this time
	probing  bool      // it tries whether a pause is over
	probes   int       // tries that did not show that it is
	outbids  int       // slots that it left to other replicas, as they had been first
}

// InProgress implements inHand.
func (j *Job) InProgress() error { return j.Msg.InProgress() }

// sit gives the job slots of an account: its own, or those that its request holds already. Its own are no task's yet, even if it
// had one before: a task may end while its news are still to be told.
func (j *Job) sit(s *Share, own bool) {
	j.share, j.reserved = s, own
	if own {
		j.taken = false
	}
}

// Accepted tells that Kling has made the task: its slots are held until it ends.
func (j *Job) Accepted() {
	j.taken = true
	if j.share != nil {
		j.share.Slots.accepted(j.Req.Token)
	}
}

// Suspect tells that a send may have made the task.
func (j *Job) Suspect() {
	if j.share != nil {
		j.share.Slots.suspect(j.Req.Token)
	}
}

// Freed is when the slots were freed that the job has got; zero: nobody waited for them then.
func (j *Job) Freed() time.Time { return j.freed }

// Account names the account that the job was given; empty: it has none, as it will not become a task.
func (j *Job) Account() string {
	if j.share == nil {
		return ""
	}
	return j.share.Account
}

// MoveTo gives the job to the account that its record names, or where its task was found, whatever account had slots for it.
func (j *Job) MoveTo(account string) {
	if j.Account() == account {
		return
	}
	if j.reserved {
		j.share.Slots.release(j.Req.Token, time.Time{})
		j.pool.untake(j, false)
	}
	j.reserved, j.cleared = false, false
	j.pool.hold(account, j.Req.Token, j.Req.Need(), time.Now())
	j.share = j.pool.meet(account)
}

// Unseat frees the slots that the job's request was taken to hold though it has no task: that Kling has failed it was missed. It
// reports whether there were any. What the job has reserved itself stays.
func (j *Job) Unseat() bool {
	if j.reserved || j.share == nil {
		return false
	}
	if seated := j.pool.seated(j.Req.Token); seated == nil {
		return false
	}
	j.pool.ended(j.Req.Token, time.Now())
	return true
}

// MaySend reports whether the job may be sent now. Most were let through by their pool. One that holds slots was only let
// through to be looked up.
func (j *Job) MaySend(now time.Time) bool {
	if !j.cleared {
		j.cleared = j.share != nil && j.share.Pauses != nil && j.share.Pauses.allowForeign(j.Req.Kind, now)
	}
	return j.cleared
}

// Context returns ctx in the trace of this delivery.
func (j *Job) Context(ctx context.Context) context.Context {
	return baggage.ContextWithBaggage(trace.ContextWithSpan(ctx, j.span), j.baggage)
}

// Attrs name the job in the log.
func (j *Job) Attrs() []any {
	return []any{slog.String("request_id", j.Req.ID), slog.String("kind", j.Req.Kind.Name)}
}

// Result is what becomes of a job after a step of work. Make it with one of the functions below.
type Result struct {
	outcome resultKind
	after   time.Duration // of tryAgain
	why     string        // of tryAgain, for people
	holds   bool          // the job keeps its slots, and its account, while it waits
}

type resultKind int

const (
	resultAgain resultKind = iota
	resultSettled
	resultFull
	resultOutbid
	resultPaused
	resultLeft
)

// Settled says that it was acked and is done with.
func Settled() Result { return Result{outcome: resultSettled} }

// NoCapacity says that Kling had none: it waits for a slot.
func NoCapacity() Result { return Result{outcome: resultFull} }

// outbid says that another replica has the slot: nothing was sent.
func outbid() Result { return Result{outcome: resultOutbid} }

// Paused says that it waits for the end of a pause, behind the others of its lane.
func Paused() Result { return Result{outcome: resultPaused} }

// Left says that it was given back, as only a newer version of the bridge knows what to do.
func Left() Result { return Result{outcome: resultLeft} }

// TryAgain says that it is worked on again after that time.
func TryAgain(after time.Duration) Result { return Result{outcome: resultAgain, after: after} }

// Because says to people why it has to be tried again.
func (r Result) Because(why string) Result {
	r.why = why
	return r
}

// Holding says whether the job keeps its account while it waits, and its slots unless Kling had none.
func (r Result) Holding(slots bool) Result {
	r.holds = slots
	return r
}
