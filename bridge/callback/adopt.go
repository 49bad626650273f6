package callback

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// adopter takes in callbacks of tasks that some other program created with this bridge as their callback URL. They
// prove themselves by Kling's signature; without one Kling is asked, and what it answers counts instead of the body.
// Nothing is stored before that.
type adopter struct {
	client      *kling.Client
	own         request.Namer // of tasks the bridge has created, which are called back on URLs of their own
	taskTimeout time.Duration
	asking      chan struct{} // bounds the calls to Kling that anybody can cause
}

const (
	maxAsking = 16
	// askTime bounds such a call: the answer to the callback waits for it.
	askTime = 1500 * time.Millisecond
)

// NewAdopter asks client about tasks that are not signed.
func NewAdopter(client *kling.Client, own request.Namer, taskTimeout time.Duration) *adopter {
	return &adopter{client: client, own: own, taskTimeout: taskTimeout, asking: make(chan struct{}, maxAsking)}
}

func (a *adopter) adopt(ctx context.Context, lr *Live, cb callback, task kling.Task, signed bool) (outcome, error) {
	if task.ID == "" || len(task.ID) > store.MaxTaskID || len(task.ExternalID) > events.MaxRequestID {
		return outcomeMalformed, errors.New("the body names no task that could be Kling's")
	}
	source := events.SourceCallback
	if !signed || incomplete(task) {
		var o outcome
		var err error
		if task, o, err = a.ask(ctx, cb.kind, task.ID); o != outcomeTaken {
			return o, err
		}
		source = events.SourcePoll
	}
	if a.own.Derives(task.ExternalID) {
		return outcomeIgnored, nil // ours: it has a callback URL of its own
	}
	noted, err := lr.Store.NotedExternalID(ctx, task.ExternalID)
	if err != nil {
		return outcomeUnavailable, err
	}
	if noted {
		return outcomeIgnored, nil // likewise, under an id that its request brought along
	}
	id := task.ExternalID
	if id == "" {
		id = "task-" + task.ID
	}
	cb.token = events.Token(id)
	rec, err := lr.Store.Find(ctx, cb.kind.Name, cb.token)
	if err != nil {
		return outcomeUnavailable, err
	}
	if rec.State == store.StateUnheard { // nothing is known of it: this is the first we hear of this task
		rec = a.record(id, cb.kind.Name, task, lr.Store.Now())
		if _, err := lr.Store.Arm(ctx, rec, rec.NextPollAt); err != nil {
			return outcomeUnavailable, err
		}
	}
	if err := contradiction(rec, cb, task); err != nil {
		return outcomeContradicting, err
	}
	return lr.publish(ctx, cb, rec, task, source)
}

// ask returns the task as Kling knows it.
func (a *adopter) ask(ctx context.Context, k kling.Kind, taskID string) (kling.Task, outcome, error) {
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	default:
		return kling.Task{}, outcomeUnavailable, errors.New("too many unproven callbacks at once")
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	task, err := a.client.Query(ctx, k, taskID)
	if failure, ok := errors.AsType[*kling.Error](err); ok && failure.NotFound {
		return task, outcomeForged, fmt.Errorf("prove task: %w", err)
	}
	if err != nil {
		return task, outcomeUnavailable, fmt.Errorf("prove task: %w", err)
	}
	return task, outcomeTaken, nil
}

func (a *adopter) record(id, kind string, task kling.Task, now time.Time) *store.Record {
	createdAt := task.CreatedAt
	if createdAt.IsZero() {
		createdAt = now
	}
	return &store.Record{
		Version:        store.Version,
		RequestID:      id,
		Kind:           kind,
		State:          store.StateSubmitted,
		ExternalTaskID: task.ExternalID,
		TaskID:         task.ID,
		Slots:          1,
		RequestedAt:    createdAt,
		SubmittedAt:    createdAt,
		Deadline:       now.Add(a.taskTimeout),
		NextPollAt:     now.Add(adoptedPoll),
	}
}

// adoptedPoll is when an adopted task is polled first, should it have no further callback.
const adoptedPoll = 5 * time.Minute
