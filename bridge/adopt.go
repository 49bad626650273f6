package bridge

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// adopter takes in callbacks of tasks that some other program created with this bridge as their callback URL. They
// prove themselves by Kling's signature; without one Kling is asked.
type adopter struct {
	taskTimeout time.Duration
}

func (a *adopter) adopt(ctx context.Context, lr *liveReceiver, cb callback, task kling.Task, signed bool) (int, error) {
	if task.ID == "" {
		return http.StatusBadRequest, errors.New("the body names no task id")
	}
	id := task.ExternalID
	if id == "" {
		id = "task-" + task.ID
	}
	cb.token = events.Token(id)
	rec, ended, err := lr.ledger.find(ctx, cb.kind.Name, cb.token)
	if err != nil {
		return http.StatusServiceUnavailable, err
	}
	unknown := rec.State == ""
	if unknown {
		rec = a.record(id, cb.kind.Name, task)
	}
	if err := contradiction(rec, cb, task); err != nil {
		return http.StatusConflict, err
	}
	if signed {
		return lr.apply(ctx, cb, rec, task, ended)
	}
	if ended {
		return http.StatusOK, nil
	}
	rec.Unproven = unknown
	return storedOr503(lr.ledger.dueNow(ctx, rec))
}

func (a *adopter) record(id, kind string, task kling.Task) *record {
	now := time.Now()
	createdAt := task.CreatedAt
	if createdAt.IsZero() {
		createdAt = now
	}
	return &record{
		Version:        recordVersion,
		RequestID:      id,
		Kind:           kind,
		State:          stateSubmitted,
		ExternalTaskID: task.ExternalID,
		TaskID:         task.ID,
		Slots:          1,
		RequestedAt:    createdAt,
		SubmittedAt:    createdAt,
		Deadline:       now.Add(a.taskTimeout),
	}
}
