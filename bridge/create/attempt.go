package create

import (
	"time"

	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// attempt is the creating of one job's task, over all steps that it takes.
type attempt struct {
	*dispatch.Job

	rec    *store.Record
	recSeq uint64 // of rec in the stream; zero while nothing is stored

	failed *store.Entry // the record of a further try that nobody has in hand; nil: this is the first, or it has one in rec

	tryID     string    // the external id of a further try; empty: it was not chosen yet, or this is the first
	ours      bool      // the message has taken its request over, when it was delivered before
	behindAt  time.Time // when a record was first met that may be from before the message; zero: none was
	noted     bool      // its external id, if it brought one along
	tries     int       // sends that certainly made no task, for the backoff
	asked     bool      // Kling, before its first send
	asks      int       // that it did not answer
	otherAsks int       // rounds in which another account has not told whether it has the task
	claimedAt time.Time // before the record of the next send was stored, by this machine's clock
	sentAt    time.Time // last

	foreign   int       // answers in a row that were not Kling's, of those that tell something
	foreignAt time.Time // the first of them

	unknownAt     time.Time     // when a send ended with an unknown outcome
	lookups       int           // since then
	refusal       *events.Error // why the request is rejected should Kling not know its task
	refusedClaim  string        // the claim of a send that certainly made no task, after one of unknown outcome
	answeredClaim string        // the claim of a send that something before Kling has answered, or Kling's maintenance
	lostSends     bool          // the last word on what became of its sends was spoken
}

// certain counts the sends of a record that nothing says were lost on their way back: they made no task for certain, were
// answered by something before Kling or by Kling's maintenance, or were claimed by a replica that died, mostly before it
// sent anything.
func (j *attempt) certain() int {
	takenOver := j.unknownAt.IsZero()
	if takenOver || j.rec.Claim == j.refusedClaim || j.rec.Claim == j.answeredClaim {
		return j.rec.Certain + 1
	}
	return j.rec.Certain
}

// lastSend is the last send of the record that may have reached Kling.
func (j *attempt) lastSend() time.Time {
	at := j.rec.ClaimedAt
	if j.rec.Claim == j.refusedClaim {
		at = j.rec.EarlierAt
	}
	if j.unknownAt.After(at) {
		return j.unknownAt
	}
	return at
}
