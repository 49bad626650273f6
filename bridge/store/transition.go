package store

import (
	"cmp"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// Only what is in this file changes a record.

// Send is what is stored of a create call before it is made.
type Send struct {
	Claim  string
	At     time.Time     // by the server's clock
	Upload time.Duration // what the body adds to the time that it may take
}

// NewRecord is the record of a request whose task is about to be created on an account under an external id.
func NewRecord(r *request.Request, account, externalID string, first Send, trace telemetry.Trace) *Record {
	return &Record{
		Version:        versionOf(account),
		Account:        account,
		RequestID:      r.ID,
		Kind:           r.Kind.Name,
		State:          StateCreating,
		Owner:          r.Sequence,
		Claim:          first.Claim,
		Attempt:        1,
		ClaimedAt:      first.At,
		Upload:         first.Upload,
		ExternalTaskID: externalID,
		Slots:          r.Slots,
		Model:          r.Model,
		RequestedAt:    r.RequestedAt,
		Deadline:       r.Deadline,
		Metadata:       r.Metadata,
		ReplayOf:       r.ReplayOf,
		Trace:          trace,
	}
}

// TaskRecord is the record of a task of an account of which nothing was known.
func TaskRecord(account, requestID, kind string, task kling.Task, createdAt, deadline, nextPoll time.Time) *Record {
	return &Record{
		Version:        versionOf(account),
		Account:        account,
		RequestID:      requestID,
		Kind:           kind,
		State:          StateSubmitted,
		ExternalTaskID: task.ExternalID,
		TaskID:         task.ID,
		Slots:          1,
		RequestedAt:    createdAt,
		SubmittedAt:    createdAt,
		Deadline:       deadline,
		NextPollAt:     nextPoll,
	}
}

// Resent is the record with a further send. certain of those before are known not to have been lost, and the last of them that
// may have reached Kling was at earlier.
func (r *Record) Resent(next Send, certain int, earlier time.Time) *Record {
	n := *r
	n.Attempt++
	n.Certain, n.EarlierAt = certain, earlier
	n.Claim, n.ClaimedAt, n.Upload = next.Claim, next.At, max(r.Upload, next.Upload)
	return &n
}

// Submitted is the record with the id of its task.
func (r *Record) Submitted(taskID string, at, nextPoll time.Time) *Record {
	n := *r
	n.State, n.TaskID, n.SubmittedAt, n.NextPollAt = StateSubmitted, taskID, at, nextPoll
	return &n
}

// Found notes the task of a record that the create call has not completed.
func (r *Record) Found(task kling.Task, now time.Time) {
	if r.TaskID != "" {
		return
	}
	r.State, r.TaskID, r.SubmittedAt = StateSubmitted, task.ID, task.CreatedAt
	if r.SubmittedAt.IsZero() {
		r.SubmittedAt = now
	}
}

// Polled notes a poll that did not end the request.
func (r *Record) Polled(next time.Time) {
	r.Polls++
	r.NextPollAt = next
}

// On notes the account that the task of a record is on, of which that was not known. Empty: it still is not.
func (r *Record) On(account string) {
	r.Account, r.Version = account, versionOf(account)
}

// Rebuilt adds to what is left of a lost record what it takes to ask for its task. Ids that are empty are not known.
func (r *Record) Rebuilt(taskID, externalID string, deadline time.Time) {
	r.State = StateSubmitted
	r.TaskID, r.ExternalTaskID = cmp.Or(taskID, r.TaskID), cmp.Or(externalID, r.ExternalTaskID)
	if r.Deadline.IsZero() {
		r.Deadline = deadline
	}
}
