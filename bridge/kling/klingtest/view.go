package klingtest

import (
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// The statuses of tasks. Each API generation has its own word for success (Kling's API reference, 2026-10).
const (
	StatusSubmitted  = "submitted"
	StatusProcessing = "processing"
	StatusSucceed    = "succeed"   // v1, and virtual-try-on among the solutions
	StatusSucceeded  = "succeeded" // v2 and the other solutions
	StatusFailed     = "failed"
)

// TaskView is a copy of all that is known of a task.
type TaskView struct {
	ID          string // 18 digits
	ExternalID  string // the client's own, possibly empty
	Kind        kling.Kind
	Model       string // of a v2 path, or a v1 body's model_name
	Prompt      string
	CallbackURL string
	Body        []byte // of the create call, byte for byte; nil when larger than 1 MiB; not to be changed
	Slots       int    // taken from submission to the end

	Status  string // as its API generation spells it
	Message string // why it failed

	CreatedAt time.Time
	UpdatedAt time.Time // of the last change of status
	EndedAt   time.Time // zero while it runs

	CallbacksSent     int // requests that were sent, repeats and retries included
	CallbacksAccepted int // those of them that were answered 2xx
}

// Ended reports whether the task has come to its end.
func (t TaskView) Ended() bool { return !t.EndedAt.IsZero() }

// Route is one of the calls Kling answers.
type Route string

// The routes.
const (
	RouteCreate   Route = "create"    // POST of a kind's path
	RouteQuery    Route = "query"     // v1: GET of a kind's path and an id
	RouteList     Route = "list"      // v1: GET of a kind's path
	RouteTasks    Route = "tasks"     // GET /tasks: v2, and v1 translated
	RouteTaskPage Route = "task_page" // POST /tasks: likewise
	RouteCosts    Route = "costs"     // GET /account/costs
	RouteSync     Route = "sync"      // any other call that answers at once

	RouteSolutions    Route = "solutions"     // GET /solutions
	RouteSolutionPage Route = "solution_page" // POST /solutions
)

// Calls counts what clients asked for, refused calls included.
type Calls struct {
	Creates      int
	Queries      int // v1 by one id, else by a list of ids
	ListPages    int // v1 lists, and pages of the others
	AccountCosts int
	Sync         map[string]int `json:",omitempty"` // that answer at once, by name
	SyncDone     map[string]int `json:",omitempty"` // those of Sync that were handled, whether their answer arrived or not
	Refused      map[int]int    // by Kling's code

	RefusedCreates map[int]int // those of Refused that were create calls
}

func (c *Calls) count(asked call) {
	switch asked.route {
	case RouteSync:
		c.Sync[asked.sync.Name]++
	case RouteCreate:
		c.Creates++
	case RouteQuery, RouteTasks, RouteSolutions:
		c.Queries++
	case RouteList, RouteTaskPage, RouteSolutionPage:
		c.ListPages++
	case RouteCosts:
		c.AccountCosts++
	}
}

// EventType says what an [Event] is about.
type EventType string

// The types of events.
const (
	Created          EventType = "created"           // a task was stored
	Refused          EventType = "refused"           // a call was answered with a code other than 0
	Faulted          EventType = "faulted"           // a call met a fault instead of its answer, or before it
	Changed          EventType = "changed"           // a task has a new status, the end included
	CallbackAnswered EventType = "callback_answered" // with whatever HTTP status
	CallbackFailed   EventType = "callback_failed"   // no answer
	CallbackLost     EventType = "callback_lost"     // never sent, by fault
	Violated         EventType = "violated"          // a client did what it shouldn't
)

// Event is something that happened. Fields that don't concern its type are zero.
type Event struct {
	Type       EventType
	Time       time.Time
	Task       TaskView
	Status     string // of the task, as the callback tells it
	Route      Route
	Code       int    // Kling's, of a refusal
	HTTPStatus int    // of a refusal, or of the answer to a callback
	Body       []byte // of the create call or of the callback; not to be changed
	Detail     string // the refusal's message, the fault, the violation
	Err        error  // why a callback failed
}
