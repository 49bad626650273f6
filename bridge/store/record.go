package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

const (
	// CreatingTimer is how often a record left in creating is looked at, should the request itself be lost.
	CreatingTimer = 10 * time.Minute
)

// state of a pending record.
type state string

// The states of a record.
const (
	StateUnheard   state = ""          // no record is stored of the request, nor an end: this one was made of what else there is
	StateCreating  state = "creating"  // the create call may have been sent
	StateSubmitted state = "submitted" // Kling gave the task an id
	StateRetrying  state = "retrying"  // Kling failed the task; the next one is to be made
)

// Record is all the bridge knows of a task that has not ended. It is stored as a message on the pending subject of its
// request and is its timer at the same time: when it is due, the server moves it to the due subject, which is work for
// the poller.
//
// Replicas of several versions work on the same records while the bridge is upgraded. A version may add members, which
// others keep when they write the record again. It never changes the type of one; a change of meaning, also of what may
// be done with a record, raises v. A record of a higher v than a replica knows is only read by it: the replica creates,
// polls and ends nothing for it and leaves all that to one of the newer version, except that a callback completes it.
type Record struct {
	Version        int               `json:"v"`
	RequestID      string            `json:"request_id"`
	Kind           string            `json:"kind"`
	State          state             `json:"state"`
	Owner          uint64            `json:"owner"` // sequence of the request message that may create the task
	Claim          string            `json:"claim"` // changes with every send, so that a lost ack is told from a lost race
	Attempt        int               `json:"attempt"`
	Certain        int               `json:"certain,omitempty"`   // sends before the last that are not known to have been lost, see certain
	ClaimedAt      time.Time         `json:"claimed_at"`          // before the last send
	EarlierAt      time.Time         `json:"earlier_at,omitzero"` // the last send before that which may have reached Kling
	Upload         time.Duration     `json:"upload,omitempty"`    // what the body adds to the time that a send may take
	ExternalTaskID string            `json:"external_task_id"`
	TaskID         string            `json:"task_id,omitempty"`
	Slots          int               `json:"slots"`
	Model          string            `json:"model,omitempty"` // that the request names
	RequestedAt    time.Time         `json:"requested_at"`
	SubmittedAt    time.Time         `json:"submitted_at,omitzero"`
	Deadline       time.Time         `json:"deadline"`
	Polls          int               `json:"polls,omitempty"`
	NextPollAt     time.Time         `json:"next_poll_at,omitzero"`
	Metadata       map[string]string `json:"metadata,omitempty"`
	ReplayOf       string            `json:"replay_of,omitempty"`
	Trace          telemetry.Trace   `json:"trace,omitzero"` // of the request
	Account        string            `json:"account"`        // at Kling, that may have the task; empty: none was given to the request yet

	Retries int          `json:"retries,omitempty"` // how often a task that Kling failed is made again
	Tries   []events.Try `json:"tries,omitempty"`   // the tasks that Kling failed
	Failure *failed      `json:"failure,omitempty"` // of the last of them, until it is told
	Fence   string       `json:"fence,omitempty"`   // proves the message by which the request goes on with its next try
	Queued  uint64       `json:"queued,omitempty"`  // sequence of that message, while the next try waits for its turn

	Units string `json:"-"` // that its task has cost, where Kling has failed it and no other was made

	Unknown json.RawMessage `json:"-"` // members of a newer version, as an object; nil: none

	EndedAs events.Status `json:"-"` // of a record made of a completion: its status
}

// Token is that of the record's request.
func (r *Record) Token() string { return events.Token(r.RequestID) }

// ErrUnknownKind is returned for a record of a kind that is no longer in the table.
var ErrUnknownKind = errors.New("unknown kind")

// Mismatch refuses another task under the same id: one request must not get another's result.
func Mismatch(rec *Record, task kling.Task) error {
	if task.ExternalID != "" && rec.ExternalTaskID != "" && task.ExternalID != rec.ExternalTaskID {
		return fmt.Errorf("task %s has the external id %q, want %q", task.ID, request.Clip(task.ExternalID), rec.ExternalTaskID)
	}
	return nil
}
