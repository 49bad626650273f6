package callback

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// Adopter takes in callbacks of tasks that some other program created with this bridge as their callback URL. They
// prove themselves by Kling's signature; without one Kling is asked, and what it answers counts instead of the body.
// Nothing is stored before that.
type Adopter struct {
	own         request.Namer // of tasks the bridge has created, which are called back on URLs of their own
	taskTimeout time.Duration
	asking      chan struct{} // bounds the calls to Kling that anybody can cause
}

const (
	maxAsking = 16
)

// NewAdopter has Kling asked about tasks that are not signed.
func NewAdopter(own request.Namer, taskTimeout time.Duration) *Adopter {
	return &Adopter{own: own, taskTimeout: taskTimeout, asking: make(chan struct{}, maxAsking)}
}

// adoption receives callbacks on the route that is the same for all tasks of a kind.
type adoption struct {
	*Live
	kind kling.Kind
}

// admit bounds the bodies in memory that anybody can send.
func (a adoption) admit(rc *Receiver, _ http.Header) (done func(), o outcome) {
	return rc.admitUnproven()
}

func (rc *Receiver) admitUnproven() (done func(), o outcome) {
	select {
	case rc.Unproven <- struct{}{}:
		return func() { <-rc.Unproven }, outcomeTaken
	default:
		return nil, outcomeUnavailable
	}
}

func (a adoption) unread(o outcome) outcome { return o }

func (a adoption) proves(o outcome) bool { return o.proves() }

func (a adoption) attrs() []slog.Attr { return []slog.Attr{slog.String("kind", a.kind.Name)} }

func (a adoption) receive(ctx context.Context, h http.Header, body []byte, began time.Time) (outcome, error) {
	proof := a.examine(h, body)
	if proof.none() != nil {
		return outcomeUnsigned, errors.New("no valid signature")
	}
	task, o, err := decode(body)
	if o != outcomeTaken {
		return o, err
	}
	task, account, source, o, err := a.prove(ctx, proof, task)
	if o != outcomeTaken {
		return o, err
	}
	ours, err := a.isOurs(ctx, task)
	switch {
	case err != nil:
		return outcomeUnavailable, err
	case ours:
		return outcomeIgnored, nil
	default:
		return a.adopt(ctx, task, account, source, began)
	}
}

// prove returns the task as it is known for certain, and its account: as the body tells it, if that is signed, else as Kling
// does.
func (a adoption) prove(ctx context.Context, p proof, task kling.Task) (_ kling.Task, account string, _ events.Source, _ outcome, _ error) {
	switch {
	case task.ID == "" || len(task.ID) > store.MaxTaskID || len(task.ExternalID) > events.MaxRequestID:
		return task, "", "", outcomeMalformed, errors.New("the body names no task that could be Kling's")
	case len(p.signed) == 1 && !incomplete(task):
		return task, p.signed[0].Name, events.SourceCallback, outcomeTaken, nil
	}
	task, account, o, err := a.Adopter.ask(ctx, p.senders(), a.kind, task)
	return task, account, events.SourcePoll, o, err
}

// isOurs tells a task that the bridge has created: it has a callback URL of its own.
func (a adoption) isOurs(ctx context.Context, task kling.Task) (bool, error) {
	if a.Adopter.own.Derives(task.ExternalID) {
		return true, nil
	}
	return a.Store.NotedExternalID(ctx, task.ExternalID) // under an id that its request brought along
}

// adopt takes a task of somebody else's in, or what is new of it.
func (a adoption) adopt(ctx context.Context, task kling.Task, account string, source events.Source, began time.Time) (outcome, error) {
	id := cmp.Or(task.ExternalID, "task-"+task.ID)
	cb := callback{kind: a.kind, token: events.Token(id), began: began, adopted: true}
	rec, err := a.Store.Find(ctx, a.kind.Name, cb.token)
	if err != nil {
		return outcomeUnavailable, err
	}
	if rec.State == store.StateUnheard { // this is the first we hear of this task
		waiting, err := a.Waiting.ByToken(ctx, cb.token)
		switch {
		case err != nil:
			return outcomeUnavailable, err
		case waiting != nil:
			return outcomeContradicting, errOfRequest
		}
		rec = a.Adopter.record(account, id, a.kind.Name, task, a.Store.Now())
		if _, err := a.Store.Arm(ctx, rec, rec.NextPollAt); err != nil {
			return outcomeUnavailable, err
		}
	}
	if rec.Account != "" && rec.Account != account {
		return outcomeContradicting, fmt.Errorf("the request's task is on account %s, the callback is of %s", rec.Account, account)
	}
	if err := contradiction(rec, cb, task); err != nil {
		return outcomeContradicting, err
	}
	return a.publish(ctx, cb, rec, task, source)
}

// errOfRequest refuses news of a task under the id of a request that waits for its own: whoever can sign for an account could end it.
var errOfRequest = errors.New("a request of this id waits for a task of the bridge's own")

// consoleTest receives what Kling's console sends to try a webhook out, where adoption is off. Only what is signed learns
// that there is such a route.
type consoleTest struct {
	*Live
	kind kling.Kind
}

func (c consoleTest) admit(rc *Receiver, h http.Header) (done func(), o outcome) {
	if h.Get(kling.HeaderWebhookSignature) == "" {
		return nil, outcomeForged // not worth reading
	}
	return rc.admitUnproven()
}

func (c consoleTest) unread(outcome) outcome { return outcomeForged }

func (c consoleTest) proves(o outcome) bool { return o.proves() }

func (c consoleTest) attrs() []slog.Attr { return []slog.Attr{slog.String("kind", c.kind.Name)} }

func (c consoleTest) receive(_ context.Context, h http.Header, body []byte, _ time.Time) (outcome, error) {
	if len(c.examine(h, body).signed) == 0 {
		return outcomeForged, nil
	}
	return outcomeIgnored, nil
}

// ask returns the task as Kling knows it, and which of the accounts has it.
func (a *Adopter) ask(
	ctx context.Context, accounts []kling.Account, k kling.Kind, task kling.Task,
) (_ kling.Task, account string, _ outcome, _ error) {
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	default:
		return kling.Task{}, "", outcomeUnavailable, errors.New("too many unproven callbacks at once")
	}
	task, account, err := whose(ctx, accounts, k, task)
	switch {
	case err != nil:
		return task, "", outcomeUnavailable, fmt.Errorf("prove task: %w", err)
	case account == "":
		return task, "", outcomeForged, errors.New("prove task: Kling knows none with this id")
	default:
		return task, account, outcomeTaken, nil
	}
}

func (a *Adopter) record(account, id, kind string, task kling.Task, now time.Time) *store.Record {
	createdAt := task.CreatedAt
	if createdAt.IsZero() {
		createdAt = now
	}
	return store.TaskRecord(account, id, kind, task, createdAt, now.Add(a.taskTimeout), now.Add(adoptedPoll))
}

// adoptedPoll is when an adopted task is polled first, should it have no further callback.
const adoptedPoll = 5 * time.Minute
