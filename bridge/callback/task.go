package callback

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// apply publishes what a callback says about a known request, or has it polled.
func (lr *Live) apply(ctx context.Context, cb callback, rec *store.Record, task kling.Task) (o outcome, err error) {
	ctx, span := lr.span(ctx, rec, cb)
	defer func() { endCallback(span, o.status()) }()
	if lr.Trust == TrustQuery || incomplete(task) {
		return lr.ask(ctx, rec, task)
	}
	return lr.observe(ctx, cb, rec, task, events.SourceCallback)
}

// incomplete reports whether a callback says too little to be acted on: no status that is known, or a success without
// any result. Kling may have more to say.
func incomplete(task kling.Task) bool {
	return !task.Status.Known() || task.Status == kling.StatusSucceed && !task.HasResult()
}

// ask has the request polled at once, unless it has ended. What Kling answers then counts, also a success without any
// result.
func (lr *Live) ask(ctx context.Context, rec *store.Record, task kling.Task) (outcome, error) {
	if rec.State == store.StateUnheard {
		lr.askable(rec, task)
	}
	due, err := lr.Store.DueUnlessEnded(ctx, rec)
	switch {
	case err != nil:
		return outcomeUnavailable, err
	case !due:
		return outcomeRepeated, nil
	case task.Status.Known():
		return outcomePolled, nil
	default:
		return outcomeUnintelligible, fmt.Errorf("status %q, odd fields %q; Kling is asked instead", request.Clip(string(task.Status)), task.Odd)
	}
}

// askable adds to the record of a request whose own is lost what it takes to ask for its task: what that one said is derived
// again. Its task's ids are taken from the callback, if that is trusted: a request may have brought an external id along.
func (lr *Live) askable(rec *store.Record, task kling.Task) {
	taskID, externalID := "", ""
	if lr.Trust == TrustURL {
		taskID, externalID = task.ID, task.ExternalID
	}
	if taskID == "" && externalID == "" && rec.TaskID == "" && rec.ExternalTaskID == "" {
		externalID = lr.Namer.ExternalID(rec.Token())
	}
	rec.Rebuilt(taskID, externalID, lr.Store.Now().Add(lr.TaskTimeout))
}

// publish is apply for what Kling itself has confirmed.
func (lr *Live) publish(ctx context.Context, cb callback, rec *store.Record, task kling.Task, source events.Source) (o outcome, err error) {
	ctx, span := lr.span(ctx, rec, cb)
	defer func() { endCallback(span, o.status()) }()
	return lr.observe(ctx, cb, rec, task, source)
}

func (lr *Live) observe(ctx context.Context, cb callback, rec *store.Record, task kling.Task, source events.Source) (outcome, error) {
	if task.Status.Terminal() {
		lr.Cache.Remove(cb.token)
	}
	if rec.EndedAs != "" && (!task.Status.Terminal() || !store.MayBeLate(rec.EndedAs)) {
		return outcomeRepeated, nil
	}
	n, err := lr.Store.Observe(ctx, rec, task, source)
	switch {
	case err != nil:
		return outcomeUnavailable, err
	case n == store.EffectProgress || n == store.EffectEnd || n == store.EffectRetry:
		return outcomeStored, nil
	case n == store.EffectLate:
		return outcomeLate, nil
	default:
		return outcomeRepeated, nil
	}
}

// find returns what is known of a request, and refuses a body that contradicts it or is of another account.
func (u *ownURL) find(ctx context.Context, cb callback, p proof, task kling.Task) (rec *store.Record, o outcome, err error) {
	rec, err = u.known(ctx, cb)
	if err != nil {
		return nil, outcomeUnavailable, err
	}
	if o, err := u.ofEarlierTry(rec, p, task); o != outcomeTaken {
		return nil, o, err
	}
	if o, err := u.authorize(ctx, cb, rec, p, task); o != outcomeTaken {
		return nil, o, err
	}
	if err := contradiction(rec, cb, task); err != nil {
		return nil, outcomeContradicting, err
	}
	if rec.ExternalTaskID == "" {
		return u.unheardOf(ctx, rec, cb, task)
	}
	return rec, outcomeTaken, nil
}

// known returns the record of a request, or one made of what else there is of it: of its end, of its progress, or, where the
// store was set back, of the request itself, which may still wait to be looked up.
func (u *ownURL) known(ctx context.Context, cb callback) (*store.Record, error) {
	if u.Cache.Get(cb.token, &u.remembered) {
		return &u.remembered, nil
	}
	rec, err := u.Store.Find(ctx, cb.kind.Name, cb.token)
	if err != nil || rec.State != store.StateUnheard || rec.ExternalTaskID != "" {
		return rec, err
	}
	waiting, err := u.Waiting.ByToken(ctx, cb.token)
	if err != nil {
		return nil, err
	}
	if waiting == nil || waiting.Invalid != nil {
		return u.Store.Find(ctx, cb.kind.Name, cb.token) // it may have been looked up meanwhile
	}
	rec = u.Store.WaitingRecord(waiting, cmp.Or(waiting.Req.ExternalID, u.Namer.ExternalID(cb.token)))
	rec.On(waiting.Req.Account)
	return rec, nil
}

// unheardOf refuses the callback of a task that this deployment did not make: nothing is known of the request, or it has
// ended before it was sent as far as is known, and the task has an external id that was neither derived for it nor brought
// along by it.
func (lr *Live) unheardOf(ctx context.Context, rec *store.Record, cb callback, task kling.Task) (*store.Record, outcome, error) {
	if task.ExternalID == "" || task.ExternalID == lr.Namer.ExternalID(cb.token) {
		return rec, outcomeTaken, nil
	}
	noted, err := lr.Store.NotedExternalID(ctx, task.ExternalID)
	switch {
	case err != nil:
		return nil, outcomeUnavailable, err
	case !noted && events.Token(task.ExternalID) != cb.token:
		return nil, outcomeContradicting, errors.New("no task is known of the request, and the task's external id is none of its own")
	default:
		return rec, outcomeTaken, nil
	}
}

// ofEarlierTry settles what is said of a task that Kling has failed and that was made again, whatever it is, by the account that
// had the task. While the next one is still to be made, on an account that nobody knows yet, no other task is the request's.
func (lr *Live) ofEarlierTry(rec *store.Record, p proof, task kling.Task) (outcome, error) {
	try, ok := rec.EarlierTry(task)
	switch {
	case ok:
		if o, err := lr.from(try.Account, p); o != outcomeTaken {
			return o, err
		}
		return outcomeRepeated, nil
	case rec.State != store.StateRetrying:
		return outcomeTaken, nil
	case task.ID == "" && task.ExternalID == "":
		return outcomeRepeated, nil
	default:
		return outcomeContradicting, errors.New("the body names a task that the request does not have")
	}
}

func contradiction(rec *store.Record, cb callback, task kling.Task) error {
	switch {
	case rec.Kind != cb.kind.Name:
		return errors.New("the URL names another kind than the request")
	case store.Mismatch(rec, task) != nil:
		return store.Mismatch(rec, task)
	case task.ID != "" && rec.TaskID != "" && task.ID != rec.TaskID:
		return errors.New("the body names another task id")
	default:
		return nil
	}
}
