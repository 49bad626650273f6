package create

import (
	"cmp"
	"context"
	"crypto/rand"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// Creator turns requests into tasks at Kling, at most one each.
type Creator struct {
	Accounts  kling.Accounts
	Store     *store.Store
	Cache     *store.Cache
	Inputs    *request.Attachments
	Namer     request.Namer
	Pauses    dispatch.AccountPauses
	Queries   *queryTrust
	Telemetry *telemetry.Tracer
	Metrics   *Metrics
	Log       *slog.Logger

	// CallbackURL is where Kling calls back about a task; empty: nowhere.
	CallbackURL func(kind, token string) string

	reconnections atomic.Uint64 // to NATS, that suspectedAt knows of
	suspectedAt   atomic.Int64  // by the server's clock, in Unix nanoseconds: what was stored before may have been sent
	LookupWindow  time.Duration
	FirstPoll     time.Duration // from submission
}

const (
	// conflictWait lets somebody else finish with a record.
	conflictWait = time.Second

	firstLookupWait = 500 * time.Millisecond
	maxLookupWait   = 20 * time.Second
	lastLookupWait  = 5 * time.Minute // once nothing is sent any more
)

// Begin returns what works on a job until its request is settled or has to wait, which it leaves to the pool.
func (c *Creator) Begin(ctx context.Context, j *dispatch.Job) (work func() dispatch.Result) {
	a := &attempt{Job: j}
	return func() dispatch.Result { return c.create(ctx, a) }
}

func (c *Creator) create(ctx context.Context, j *attempt) dispatch.Result {
	ctx = j.Context(ctx)
	r, err := c.step(ctx, j)
	if err != nil {
		c.Log.WarnContext(ctx, "request put off", append(j.Attrs(), slog.Any("err", err))...)
		r = dispatch.TryAgain(conflictWait)
	}
	return r.Holding(j.rec != nil)
}

func (c *Creator) step(ctx context.Context, j *attempt) (dispatch.Result, error) {
	if err := c.recall(ctx, j); err != nil {
		return dispatch.Result{}, err
	}
	switch why := c.unfit(j); {
	case why != nil:
		return c.reject(ctx, j, why)
	case !c.Store.Now().Before(j.Req.Deadline):
		return c.expire(ctx, j)
	}
	done, err := c.Inputs.Take(ctx, j.Req)
	if err != nil {
		return dispatch.Result{}, err
	}
	defer done()
	switch {
	case j.rec != nil || j.ours:
		return c.resume(ctx, j, "")
	case j.failed != nil && j.Unseat(): // the slots are those of the try before: this one waits for its own, on any account
		return dispatch.TryAgain(0), nil
	}
	return c.prepare(ctx, j)
}

// prepare goes on with a request, or its next try, of which nothing was sent as far as this replica knows.
func (c *Creator) prepare(ctx context.Context, j *attempt) (dispatch.Result, error) {
	body, why, err := c.Inputs.Resolve(ctx, j.Req)
	if err == nil && why == nil {
		why, err = c.ownID(ctx, j)
	}
	switch {
	case err != nil:
		return dispatch.Result{}, err
	case why != nil:
		return c.reject(ctx, j, why)
	case !j.MaySend(time.Now()) && j.failed == nil: // it holds slots: let it be looked up
		return c.resume(ctx, j, "")
	case !j.MaySend(time.Now()): // its kind is paused
		return dispatch.TryAgain(conflictWait), nil
	default:
		return c.intend(ctx, j, body)
	}
}

// ownID notes the external id that a request brought along, once. It returns why the request can't have it.
func (c *Creator) ownID(ctx context.Context, j *attempt) (why *events.Error, err error) {
	if j.failed != nil {
		return c.tryID(ctx, j)
	}
	if c.Namer.DerivedForOther(j.Req.ExternalID, j.Req.Token) {
		return derivedID(j.Req.ExternalID), nil
	}
	if j.noted {
		return nil, nil
	}
	holder, err := c.Store.NoteExternalID(ctx, j.Req, j.Req.ExternalID)
	if err != nil {
		return nil, err
	}
	if holder != "" {
		return heldBy(j.Req.ExternalID, holder), nil
	}
	j.noted = true
	return nil, nil
}

// intend stores the intent and sends.
func (c *Creator) intend(ctx context.Context, j *attempt, body request.Object) (dispatch.Result, error) {
	doubtful := c.doubtful(j)
	if doubtful {
		if unanswered := c.askOthers(ctx, j); unanswered != "" {
			return dispatch.TryAgain(clock.Backoff(j.otherAsks)).Because(counted(unanswered, j.otherAsks)), nil
		}
	}
	j.claimedAt = time.Now()
	rec, seq, first, err := c.storeIntent(ctx, j, body)
	if err != nil {
		return dispatch.Result{}, err
	}
	if !first {
		return c.resume(ctx, j, rec.Claim)
	}
	j.rec, j.recSeq = rec, seq
	switch {
	case doubtful:
		return c.askFirst(ctx, j, body)
	case c.doubtful(j): // since a moment: the other accounts are asked before
		return c.unsay(ctx, j, 0)
	default:
		return c.send(ctx, j, body)
	}
}

// storeIntent stores the record of what is about to be sent, if it is the first of the request, or in place of that of a try
// that failed.
func (c *Creator) storeIntent(ctx context.Context, j *attempt, body request.Object) (rec *store.Record, seq uint64, first bool, err error) {
	if j.failed != nil {
		rec = j.failed.Rec.Taken(j.Req.Sequence, j.Account(), c.externalID(j), c.newSend(body))
		seq, first, err = c.Store.Replace(ctx, rec, c.creatingFire(rec), j.failed.Seq)
		return rec, seq, first, err
	}
	rec = store.NewRecord(j.Req, j.Account(), c.externalID(j), c.newSend(body), c.Telemetry.Carry(ctx))
	seq, first, err = c.Store.Intend(ctx, rec, c.creatingFire(rec))
	return rec, seq, first, err
}

// externalID is the id that the request's task is known by at Kling.
func (c *Creator) externalID(j *attempt) string {
	return cmp.Or(j.tryID, j.Req.ExternalID, c.Namer.ExternalID(j.Req.Token))
}

// newSend is a create call that is about to be claimed.
func (c *Creator) newSend(body request.Object) store.Send {
	return store.Send{Claim: rand.Text(), At: c.Store.Now(), Upload: kling.UploadTime(body.Size())}
}

func (c *Creator) creatingFire(rec *store.Record) time.Time {
	return clock.Earlier(c.Store.Now().Add(store.CreatingTimer), rec.Deadline)
}
