package events

import (
	"encoding/json"
	"strings"
)

// The statuses of a request that is no task yet. No event carries them; [Task] does.
const (
	StatusWaiting  Status = "waiting"  // in the stream, for capacity or for its turn
	StatusCreating Status = "creating" // a create call is under way, or its outcome is being looked up
)

// Endpoint names one question that the bridge answers by NATS request and reply: the subject is [Subjects.API], the
// service is called "klingbridge" ("nats micro ls" shows it). An error comes in the micro protocol's headers
// Nats-Service-Error-Code and Nats-Service-Error: 400 wrong input, 404 unknown id, 409 too late, 500 anything else, such
// as a JetStream that does not answer.
type Endpoint string

// The endpoints, each with its request body and its answer.
const (
	EndpointTaskGet    Endpoint = "task.get"    // a request id; TaskAnswer
	EndpointTaskList   Endpoint = "task.list"   // TaskQuery or empty; TaskList
	EndpointTaskAgain  Endpoint = "task.again"  // AgainQuery; Replayed. Too early while the request has not ended
	EndpointTaskCancel Endpoint = "task.cancel" // a request id; Cancelled. Too late once the task exists: Kling has no cancel
	EndpointDeadList   Endpoint = "dead.list"   // PageQuery or empty; DeadList
	EndpointDeadReplay Endpoint = "dead.replay" // a request id; Replayed
	EndpointStatus     Endpoint = "status"      // empty; BridgeStatus
)

// Task is what is known of one request, whether it waits, is in flight or has ended. All keys are always present; what
// is not known yet is null or the empty string.
type Task struct {
	RequestID      string            `json:"request_id"`
	Kind           string            `json:"kind"`
	Pool           string            `json:"pool"`
	Status         Status            `json:"status"` // waiting, creating, submitted, processing, retrying, or how it ended
	TaskID         string            `json:"task_id"`
	ExternalTaskID string            `json:"external_task_id"`
	Account        string            `json:"account,omitempty"` // at Kling; empty: none was given to the request yet
	RequestedAt    Time              `json:"requested_at"`
	SubmittedAt    *Time             `json:"submitted_at"`
	CompletedAt    *Time             `json:"completed_at"`
	NextPollAt     *Time             `json:"next_poll_at"` // of a task in flight
	Deadline       *Time             `json:"deadline"`     // of a request that has not ended
	Metadata       map[string]string `json:"metadata"`
	Error          *Error            `json:"error"` // of one that ended other than succeed
	// Before is how many requests of its pool came earlier and are no less urgent: only in the answer to
	// [EndpointTaskGet] about one that waits.
	Before   *int   `json:"before,omitempty"`
	ReplayOf string `json:"replay_of,omitempty"`
	Source   Source `json:"source,omitempty"` // of the completion: how the bridge came to know the end
	Units    string `json:"units,omitempty"`  // a decimal string, as Kling deducted it; of one that has ended, also after the deadline
	Tries    []Try  `json:"tries,omitempty"`  // the tasks before this one that Kling failed, in their order
	// WaitsFor says to people, after the words "waits for", what keeps a request from being a task: only in the answer to
	// [EndpointTaskGet], about one that waits or is being created.
	WaitsFor string `json:"waits_for,omitempty"`
	// Wait says the same to programs.
	Wait *Wait `json:"wait,omitempty"`
	// Result is what Kling made, also what came after the deadline: only in the answer to [EndpointTaskGet].
	Result *Result `json:"result,omitempty"`
	// Body is what was asked for, as it came, its first 4 KiB; invalid UTF-8 is replaced. It is only in the answer to
	// [EndpointTaskGet], and empty where it is not known: of a task that was made outside the bridge, and of a request that
	// was handled by a version of the bridge which did not keep it.
	Body      string `json:"body,omitempty"`
	BodyBytes int    `json:"body_bytes,omitempty"` // of the whole body
	TraceID   string `json:"trace_id,omitempty"`   // of the trace that the request's life is, 32 hex digits
}

// Wait is what keeps a request from being a task, as far as the replica knows that answers.
type Wait struct {
	For   WaitReason `json:"for"`
	Until *Time      `json:"until,omitempty"` // null: that depends on other requests, on Kling, or on people
}

// WaitReason is why a request is no task, or no further one, yet.
type WaitReason string

// The reasons to wait.
const (
	WaitForSlot   WaitReason = "slot"   // all of its slots at Kling are taken
	WaitForTurn   WaitReason = "turn"   // others are before it
	WaitForPause  WaitReason = "pause"  // its pool or its kind is paused
	WaitForAgain  WaitReason = "again"  // a call to Kling has failed, and is made again
	WaitForAnswer WaitReason = "answer" // its create call is under way, or what became of it is looked up
	WaitForTry    WaitReason = "try"    // Kling has failed its task, and the next one is to be made
)

// TaskAnswer answers [EndpointTaskGet].
type TaskAnswer struct {
	Task Task `json:"task"`
}

// PageQuery asks for one page of a list.
type PageQuery struct {
	Limit  int    `json:"limit,omitempty"`  // entries at most, 1 to 1000; zero: 100
	Cursor string `json:"cursor,omitempty"` // of the page before; empty: the first page
}

// TaskQuery asks [EndpointTaskList] for a page: those that have not ended first, then the others, newest first.
type TaskQuery struct {
	Statuses Statuses `json:"status,omitempty"` // any of these; empty: any at all
	Kind     string   `json:"kind,omitempty"`   // empty: any
	Source   Source   `json:"source,omitempty"` // only those that ended, and by this; empty: any
	Since    Time     `json:"since,omitzero"`   // only those that ended since then, and that have not; zero: all
	// Metadata is what the requests must have, all of it: {"Tenant": "acme"} for those with the header Kling-Meta-Tenant:
	// acme. Names are taken in any case; empty: any.
	Metadata map[string]string `json:"meta,omitempty"`
	Prefix   string            `json:"prefix,omitempty"` // what the request id begins with; empty: anything
	PageQuery
}

// Statuses are several statuses, in JSON one string with commas between them.
type Statuses []Status

// MarshalText implements [encoding.TextMarshaler].
func (s Statuses) MarshalText() ([]byte, error) {
	words := make([]string, len(s))
	for i, status := range s {
		words[i] = string(status)
	}
	return []byte(strings.Join(words, ",")), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. There may be spaces beside the commas.
func (s *Statuses) UnmarshalText(text []byte) error {
	*s = nil
	if len(text) == 0 {
		return nil
	}
	for word := range strings.SplitSeq(string(text), ",") {
		*s = append(*s, Status(strings.TrimSpace(word)))
	}
	return nil
}

// TaskList answers [EndpointTaskList].
type TaskList struct {
	Tasks  []Task `json:"tasks"`
	Cursor string `json:"cursor"` // for the next page; empty: this is the last
}

// AgainQuery asks [EndpointTaskAgain] to send a request again that has ended, whatever its end. What Kling charges for the
// new task is charged again.
type AgainQuery struct {
	RequestID string `json:"request_id"`
	// Set has members of the body that replace those of the old one, or are added to it: {"duration": "10"}. A request that
	// brought its own external_task_id needs another one here.
	Set map[string]json.RawMessage `json:"set,omitempty"`
}

// Cancelled answers [EndpointTaskCancel].
type Cancelled struct {
	Cancelled bool `json:"cancelled"` // always true: anything else is an error
}

// DeadLetter is a request that became no task, and why.
type DeadLetter struct {
	RequestID string            `json:"request_id"`
	Kind      string            `json:"kind"`
	Status    Status            `json:"status"`
	DiedAt    Time              `json:"died_at"`
	Error     Error             `json:"error"`
	Metadata  map[string]string `json:"metadata"`
	Payload   string            `json:"payload"`  // the body as it came, clipped to 4 KiB; invalid UTF-8 replaced
	Bytes     int               `json:"bytes"`    // of the whole body
	Replayed  bool              `json:"replayed"` // at least one replay of it was asked for
}

// DeadList answers [EndpointDeadList], newest first.
type DeadList struct {
	Dead   []DeadLetter `json:"dead"`
	Cursor string       `json:"cursor"`
}

// Replayed answers [EndpointDeadReplay] and [EndpointTaskAgain].
type Replayed struct {
	RequestID string `json:"request_id"` // of the new request: <id>-r<n>
}

// PoolStatus is the state of one of Kling's concurrency pools, as the replica that answers knows it.
type PoolStatus struct {
	Pool     string         `json:"pool"`
	InFlight int            `json:"in_flight"` // slots taken by tasks at Kling and by create calls under way
	Limit    *int           `json:"limit"`     // slots that Kling is known to give; null: not yet met
	Cap      *int           `json:"cap"`       // BRIDGE_CONCURRENCY; null: none
	Waiting  map[string]int `json:"waiting"`   // requests by priority: high, normal, low
	Paused   []string       `json:"paused"`    // why nothing is sent; empty: it is
	// Accounts are those at Kling whose slots these are, in order of preference, where there is more to tell than of one.
	Accounts []AccountStatus `json:"accounts,omitempty"`
}

// AccountStatus is what one account at Kling has of a pool.
type AccountStatus struct {
	Account  string   `json:"account"`
	InFlight int      `json:"in_flight"` // slots taken
	Limit    *int     `json:"limit"`     // slots that Kling is known to give; null: not yet met
	Cap      *int     `json:"cap"`       // KLING_ACCOUNT_<NAME>_CONCURRENCY; null: none
	Paused   []string `json:"paused"`    // why nothing is sent to it; empty: it is
}

// KlingStatus is how Kling has answered the replica that answers, by its own clock.
type KlingStatus struct {
	AnsweredAt *Time  `json:"answered_at"` // the last answer that was Kling's own, be it a refusal; null: none yet
	FailedAt   *Time  `json:"failed_at"`   // the last call that failed for no fault of the request; null: none yet
	Failure    string `json:"failure"`     // what was wrong with that one, in a few words; empty: there is none
	Calls      int    `json:"calls"`       // in the last five minutes
	Errors     int    `json:"errors"`      // those of them that failed for no fault of the request
}

// BridgeStatus answers [EndpointStatus].
type BridgeStatus struct {
	Version    string       `json:"version"`
	Ready      bool         `json:"ready"`
	Reasons    []string     `json:"reasons"` // why not, as in /readyz
	Pools      []PoolStatus `json:"pools"`
	QueueDepth int          `json:"queue_depth"` // requests that are no task yet
	InFlight   int          `json:"in_flight"`   // requests whose task has not ended
	Dead       int          `json:"dead"`        // dead letters kept
	// Kling is nil where an older bridge answers.
	Kling *KlingStatus `json:"kling,omitempty"`
}
