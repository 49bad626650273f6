package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// creator turns requests into tasks at Kling, at most one each.
type creator struct {
	client    *kling.Client
	ledger    *store.Store
	cache     *store.Cache
	inputs    *request.Attachments
	namer     request.Namer
	pauses    *dispatch.Pauses
	queries   *queryTrust
	telemetry *telemetry.Tracer
	metrics   *createMetrics
	log       *slog.Logger

	// callbackURL is where Kling calls back about a task; empty: nowhere.
	callbackURL func(kind, token string) string

	reconnections atomic.Uint64 // to NATS, that suspectedAt knows of
	suspectedAt   atomic.Int64  // by the server's clock, in Unix nanoseconds: what was stored before may have been sent
	lookupWindow  time.Duration
	firstPoll     time.Duration // from submission
}

const (
	// conflictWait lets somebody else finish with a record.
	conflictWait = time.Second

	firstLookupWait = 500 * time.Millisecond
	maxLookupWait   = 20 * time.Second
	lastLookupWait  = 5 * time.Minute // once nothing is sent any more
)

// begin returns what works on a job until its request is settled or has to wait, which it leaves to the pool.
func (c *creator) begin(ctx context.Context, j *dispatch.Job) (work func() dispatch.Result) {
	a := &attempt{Job: j}
	return func() dispatch.Result { return c.create(ctx, a) }
}

func (c *creator) create(ctx context.Context, j *attempt) dispatch.Result {
	ctx = j.Context(ctx)
	r, err := c.step(ctx, j)
	if err != nil {
		c.log.WarnContext(ctx, "request put off", append(j.Attrs(), slog.Any("err", err))...)
		r = dispatch.TryAgain(conflictWait)
	}
	return r.Holding(j.rec != nil)
}

func (c *creator) step(ctx context.Context, j *attempt) (dispatch.Result, error) {
	switch {
	case j.Invalid != nil:
		return c.reject(ctx, j, &events.Error{Class: events.ErrorInvalid, Message: j.Invalid.Error()})
	case !c.ledger.Now().Before(j.Req.Deadline):
		return c.expire(ctx, j)
	}
	done, err := c.inputs.Take(ctx, j.Req)
	if err != nil {
		return dispatch.Result{}, err
	}
	defer done()
	if j.rec != nil {
		return c.resume(ctx, j, "")
	}
	body, inputErr, err := c.inputs.Resolve(ctx, j.Req)
	if err != nil {
		return dispatch.Result{}, err
	}
	if inputErr != nil {
		return c.reject(ctx, j, inputErr)
	}
	if c.namer.DerivedForOther(j.Req.ExternalID, j.Req.Token) {
		return c.reject(ctx, j, derivedID(j.Req.ExternalID))
	}
	if !j.noted {
		holder, err := c.ledger.NoteExternalID(ctx, j.Req)
		if err != nil {
			return dispatch.Result{}, err
		}
		if holder != "" {
			return c.reject(ctx, j, heldBy(j.Req.ExternalID, holder))
		}
		j.noted = true
	}
	if !j.MaySend(c.pauses, time.Now()) { // it holds slots: let it be looked up
		return c.resume(ctx, j, "")
	}
	j.claimedAt = time.Now()
	rec := c.newRecord(ctx, j)
	rec.Upload = kling.UploadTime(body.Size())
	seq, first, err := c.ledger.Intend(ctx, rec, c.creatingFire(rec))
	if err != nil {
		return dispatch.Result{}, err
	}
	if !first {
		return c.resume(ctx, j, rec.Claim)
	}
	j.rec, j.recSeq = rec, seq
	if !j.asked && (j.Delivered > 1 || c.suspects(j.Req)) {
		return c.askFirst(ctx, j, body)
	}
	return c.send(ctx, j, body)
}

func (c *creator) newRecord(ctx context.Context, j *attempt) *store.Record {
	externalID := j.Req.ExternalID
	if externalID == "" {
		externalID = c.namer.ExternalID(j.Req.Token)
	}
	return &store.Record{
		Version:        store.Version,
		RequestID:      j.Req.ID,
		Kind:           j.Req.Kind.Name,
		State:          store.StateCreating,
		Owner:          j.Req.Sequence,
		Claim:          rand.Text(),
		Attempt:        1,
		ClaimedAt:      c.ledger.Now(),
		ExternalTaskID: externalID,
		Slots:          j.Req.Slots,
		Model:          j.Req.Model,
		RequestedAt:    j.Req.RequestedAt,
		Deadline:       j.Req.Deadline,
		Metadata:       j.Req.Metadata,
		ReplayOf:       j.Req.ReplayOf,
		Trace:          c.telemetry.Carry(ctx),
	}
}

func (c *creator) creatingFire(rec *store.Record) time.Time {
	return clock.Earlier(c.ledger.Now().Add(store.CreatingTimer), rec.Deadline)
}

// resume goes on with a request that is already known: from an earlier delivery, or because it repeats another. A record
// with the claim mine was stored a moment ago by a write whose ack was lost: nothing was sent under it yet.
func (c *creator) resume(ctx context.Context, j *attempt, mine string) (dispatch.Result, error) {
	e, err := c.ledger.Load(ctx, j.Req.Token)
	if errors.Is(err, bus.ErrNoMessage) {
		return c.resumeEnded(ctx, j)
	}
	if err != nil {
		return dispatch.Result{}, err
	}
	switch {
	case e.Rec.Newer():
		return c.leave(ctx, j, e.Rec), nil
	case e.Rec.Owner != j.Req.Sequence:
		return c.repeat(ctx, j)
	case e.Rec.State == store.StateSubmitted:
		if err := c.ledger.Announce(ctx, e.Rec, nil); err != nil {
			return dispatch.Result{}, err
		}
		return c.ack(ctx, j)
	case e.Due: // the poller is looking at it
		return dispatch.TryAgain(conflictWait), nil
	}
	j.rec, j.recSeq = e.Rec, e.Seq
	if e.Rec.Claim == mine {
		body, inputErr, err := c.inputs.Resolve(ctx, j.Req)
		if err != nil || inputErr != nil {
			return dispatch.Result{}, errors.Join(err, request.InputError(inputErr))
		}
		return c.send(ctx, j, body)
	}
	return c.lookUp(ctx, j)
}

// resumeEnded settles a request whose record is gone: because it has ended, or was withdrawn a moment ago.
func (c *creator) resumeEnded(ctx context.Context, j *attempt) (dispatch.Result, error) {
	j.rec, j.recSeq = nil, 0
	_, ended, err := c.ledger.Completion(ctx, j.Req.Token)
	if errors.Is(err, bus.ErrNoMessage) {
		return dispatch.TryAgain(firstLookupWait), nil
	}
	if err != nil {
		return dispatch.Result{}, err
	}
	if ended.Status == events.StatusRejected && endedBy(ended, j.Req) {
		// A failure between completion and dead letter may have left the letter out. It is stored once.
		if err := c.ledger.Dead.Bury(ctx, j.Req, j.Msg.Headers(), j.Msg.Data(), ended.Error); err != nil {
			return dispatch.Result{}, err
		}
	}
	return c.repeat(ctx, j)
}

// endedBy tells a redelivered request from another one with the same id, whose end it was not.
func endedBy(end *events.Event, r *request.Request) bool {
	return end.Kind == r.Kind.Name && end.RequestedAt.Equal(events.At(r.RequestedAt).Time)
}

func (c *creator) repeat(ctx context.Context, j *attempt) (dispatch.Result, error) {
	c.log.InfoContext(ctx, "request id is already known", j.Attrs()...)
	return c.ack(ctx, j)
}

// send makes the create call. The claim in the record precedes it.
func (c *creator) send(ctx context.Context, j *attempt, body request.Object) (dispatch.Result, error) {
	callback := c.callbackURL(j.rec.Kind, j.Req.Token)
	j.sentAt = time.Now()
	task, err := c.client.Fenced(c.fence(j)).Create(ctx, j.Req.Kind, j.Req.Model, j.Req.CreateBody(body, j.rec.ExternalTaskID, callback)...)
	if err == nil {
		c.pauses.Succeeded(j.Req.Kind, j.sentAt)
		return c.submitted(ctx, j, task)
	}
	failure, ok := errors.AsType[*kling.Error](err)
	if !ok {
		return dispatch.Result{}, err
	}
	trace.SpanFromContext(ctx).RecordError(failure)
	if failure.Code != 0 {
		c.pauses.Answered(j.Req.Kind, j.sentAt)
		j.foreign = 0
	}
	switch failure.Action {
	case kling.ActionReject:
		c.authenticated(j, failure)
		if failure.Exists {
			return c.exists(ctx, j, failure)
		}
		if failure.Code != codeBadValue {
			return c.reject(ctx, j, eventError(failure))
		}
		return c.refuse(ctx, j, eventError(failure))
	case kling.ActionLookup:
		c.log.WarnContext(ctx, "outcome of the create call is unknown", append(j.Attrs(), slog.Any("err", failure))...)
		if failure.Foreign {
			j.refusal = c.foreign(j, failure)
		}
		if failure.Foreign || failure.Code == codeMaintenance {
			j.answeredClaim = j.rec.Claim
		}
		return c.unknown(ctx, j)
	default:
		return c.putOff(ctx, j, failure)
	}
}

// refuse rejects a request, unless an earlier send may have made the task after all: Kling refuses an external id that it
// has seen.
func (c *creator) refuse(ctx context.Context, j *attempt, why *events.Error) (dispatch.Result, error) {
	if j.rec.Attempt == 1 {
		return c.reject(ctx, j, why)
	}
	j.refusal = why
	return c.unknown(ctx, j)
}

const (
	// codeBadValue is Kling's code for a bad value, which a reused external task id is.
	codeBadValue = 1201
	// codeMaintenance is Kling's code while it is under maintenance (its error code page, 2026-10).
	codeMaintenance = 5001
)

// submitted stores the task id, tells the world and acks the request, in this order.
func (c *creator) submitted(ctx context.Context, j *attempt, task kling.Task) (dispatch.Result, error) {
	j.Accepted()
	rec := *j.rec
	now := c.ledger.Now()
	rec.State, rec.TaskID, rec.SubmittedAt = store.StateSubmitted, task.ID, now
	rec.NextPollAt = clock.Earlier(now.Add(c.firstPoll), rec.Deadline)
	stored, err := c.ledger.Arm(ctx, &rec, rec.NextPollAt)
	if err != nil {
		return dispatch.Result{}, err
	}
	c.created(ctx, j.Req, &rec)
	if stored { // else a callback has been faster
		c.cache.Put(&rec)
		if err := c.ledger.Announce(ctx, &rec, &task); err != nil {
			return dispatch.Result{}, err
		}
	}
	if task.Status.Terminal() { // an adopted task may have ended long ago
		if _, err := c.ledger.Observe(ctx, &rec, task, events.SourcePoll); err != nil {
			return dispatch.Result{}, err
		}
	}
	return c.ack(ctx, j)
}

// reject ends a request that can't become a task: completion first, then the dead letter, then the ack.
func (c *creator) reject(ctx context.Context, j *attempt, why *events.Error) (dispatch.Result, error) {
	first, err := c.end(ctx, j, store.Rejected(why))
	if err != nil {
		return dispatch.Result{}, err
	}
	if !first {
		return c.resumeKnown(ctx, j)
	}
	if err := c.ledger.Dead.Bury(ctx, j.Req, j.Msg.Headers(), j.Msg.Data(), why); err != nil {
		return dispatch.Result{}, err
	}
	return c.ack(ctx, j)
}

// expire ends a request whose deadline has passed.
func (c *creator) expire(ctx context.Context, j *attempt) (dispatch.Result, error) {
	first, err := c.end(ctx, j, store.Expired())
	if err != nil {
		return dispatch.Result{}, err
	}
	if !first {
		return c.resumeKnown(ctx, j)
	}
	return c.ack(ctx, j)
}

// end completes a job's request. One that nothing is stored of must be wholly unknown: another message with the same id
// may have become a task.
func (c *creator) end(ctx context.Context, j *attempt, e store.End) (first bool, err error) {
	rec := j.rec
	if rec == nil {
		rec = c.newRecord(ctx, j)
		rec.ExternalTaskID = ""
		e.Untouched = true
	}
	return c.ledger.Complete(ctx, rec, e)
}

// resumeKnown settles a request that could not be ended because something is known of it.
func (c *creator) resumeKnown(ctx context.Context, j *attempt) (dispatch.Result, error) {
	e, err := c.ledger.Load(ctx, j.Req.Token)
	if errors.Is(err, bus.ErrNoMessage) {
		return c.resumeEnded(ctx, j)
	}
	if err != nil {
		return dispatch.Result{}, err
	}
	switch {
	case e.Rec.Newer():
		return c.leave(ctx, j, e.Rec), nil
	case e.Rec.Owner != j.Req.Sequence:
		return c.repeat(ctx, j)
	}
	j.rec, j.recSeq = e.Rec, e.Seq // our own, from before a crash: its end removes it
	return dispatch.TryAgain(0), nil
}

// leave gives a request back that only a newer version of the bridge knows how to go on with.
func (c *creator) leave(ctx context.Context, j *attempt, rec *store.Record) dispatch.Result {
	wait := pull.Leave(j.Msg)
	c.log.WarnContext(ctx, "request left to a newer version",
		append(j.Attrs(), slog.Int("version", rec.Version), slog.Duration("wait", wait))...)
	return dispatch.Left()
}

// ack takes the request off the stream and makes sure of it: one that comes back would be looked up for nothing.
func (c *creator) ack(ctx context.Context, j *attempt) (dispatch.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, store.PublishTimeout)
	defer cancel()
	if err := c.ledger.Bus.DoubleAck(ctx, j.Msg); err != nil {
		return dispatch.Result{}, err
	}
	return dispatch.Settled(), nil
}

// eventError is Kling's refusal as events show it.
func eventError(e *kling.Error) *events.Error {
	return &events.Error{
		Class: events.ErrorClass(e.Class), Code: e.Code, HTTPStatus: e.HTTPStatus, Message: e.Message,
		Retryable: e.Retryable(),
	}
}
