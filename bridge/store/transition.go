package store

import (
	"cmp"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
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
		Version:        versionOf(account, r.Retries),
		Account:        account,
		Retries:        r.Retries,
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
		Version:        versionOf(account, 0),
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

// Failed is the record after Kling has failed its task: the next one is to be made, at that time. The fence proves the message
// by which that is done.
func (r *Record) Failed(task kling.Task, source events.Source, now, at time.Time, fence string) *Record {
	submittedAt := r.SubmittedAt
	if submittedAt.IsZero() {
		submittedAt = task.CreatedAt
	}
	n := r.without()
	n.Tries = append(slices.Clone(r.Tries), events.Try{
		TaskID: cmp.Or(task.ID, r.TaskID), ExternalTaskID: r.ExternalTaskID, Account: r.Account,
		Message: request.ClipTo(task.Message, maxTryMessage), Units: task.Units, FailedAt: events.At(now),
	})
	n.Failure = &failed{Source: source, SubmittedAt: submittedAt}
	if len(task.Raw) <= maxKept {
		n.Failure.Kling = task.Raw
	}
	n.Fence, n.NextPollAt, n.Queued = fence, at, 0
	return n
}

// without is the record of a further try that nobody has in hand.
func (r *Record) without() *Record {
	n := *r
	n.State, n.Account, n.ExternalTaskID, n.TaskID, n.SubmittedAt, n.Polls = StateRetrying, "", "", "", time.Time{}, 0
	n.Claim, n.Attempt, n.Certain, n.ClaimedAt, n.EarlierAt, n.Upload = "", 0, 0, time.Time{}, time.Time{}, 0
	return &n
}

// Waits is the record of a further try whose request is in the stream, at that sequence, with a timer should it get lost there.
func (r *Record) Waits(queued uint64, at time.Time) *Record {
	n := r.without()
	n.Failure, n.Queued, n.NextPollAt = nil, queued, at
	return n
}

// Taken is the record of a further try whose task is about to be created, by the request message of that sequence.
func (r *Record) Taken(owner uint64, account, externalID string, first Send) *Record {
	n := *r
	n.State, n.Owner, n.Account, n.ExternalTaskID = StateCreating, owner, account, externalID
	n.Claim, n.Attempt, n.ClaimedAt, n.Upload = first.Claim, 1, first.At, first.Upload
	n.Failure, n.Queued, n.NextPollAt = nil, 0, time.Time{}
	return &n
}

// AsFailed is the record of a request that waits for a further try, as it was before its last task failed.
func (r *Record) AsFailed() *Record {
	n := *r
	if n.TaskID == "" && len(n.Tries) > 0 {
		n.Units = n.undo().Units
	}
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
	r.Account, r.Version = account, versionOf(account, r.Retries)
}

// Rebuilt adds to what is left of a lost record what it takes to ask for its task. Ids that are empty are not known.
func (r *Record) Rebuilt(taskID, externalID string, deadline time.Time) {
	r.State = StateSubmitted
	r.TaskID, r.ExternalTaskID = cmp.Or(taskID, r.TaskID), cmp.Or(externalID, r.ExternalTaskID)
	if r.Deadline.IsZero() {
		r.Deadline = deadline
	}
}
