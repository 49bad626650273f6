package klingtest

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// Faults is what goes wrong on purpose. The functions script exact tests and are asked first; where they have nothing
// to say, dice are thrown with the probabilities, each from 0 (never, the default) to 1 (always).
type Faults struct {
	Create   func(CreateView) Fault           // asked for each create call that is in order, before anything is stored
	Query    func(QueryView) Fault            // asked for each query, list page and cost query that is in order
	Sync     func(SyncView) Fault             // asked for each call that answers at once and is in order, before it is handled
	Callback func(CallbackView) CallbackFault // asked at each change of status, the creation included

	// Reshape is asked for each task object that is sent, and returns the JSON that is sent in its place; nil: it stays.
	// It may be called from any goroutine.
	Reshape func(what Rendering, task TaskView, object json.RawMessage) json.RawMessage

	LoseCallback    float64 // a callback is never sent
	RepeatCallback  float64 // a callback is sent two to four times
	LateCallback    float64 // a callback is sent 5 to 60 s late
	ReorderCallback float64 // the callback of processing is sent after that of the end
	EarlyCallback   float64 // a task ends and calls back before its create call is answered
	LoseReply       float64 // a task is created but the answer is lost in one of four ways
	ServerError     float64 // a call is answered with one of three server errors and not handled
	TooFast         float64 // a call is refused with 429, with or without code 1302
	Slow            float64 // an answer takes 1 to 5 s
	EdgePage        float64 // a call is answered by a page of something before Kling, or such JSON, and not handled
	OddShape        float64 // a task object has a field of a type that it never has at Kling
	ThinCallback    float64 // the callback of a success has no results
	KnownID         float64 // a task is created, but the answer is that its external id exists
}

// CreateView is a create call that is about to be handled: the task as it would be stored, without an id.
type CreateView struct {
	TaskView
	Seen int // how many create calls with the same external id came before it; zero without one
}

// QueryView is a query that is about to be handled.
type QueryView struct {
	Route Route
	Kind  string     // of a v1 query or list
	IDs   []string   // asked for: task ids or external ids
	Tasks []TaskView // those of the account that IDs mean, whether the route shows them or not
}

// CallbackView is a change of status that is about to be called back: the task with the status to be told.
type CallbackView struct {
	TaskView
	Skipped bool // by the callback mode, or for want of a URL
}

// CallbackFault is what goes wrong with a callback. The zero value is nothing.
type CallbackFault struct {
	Lose    bool
	Repeat  int           // how many times more it is sent
	Delay   time.Duration // before it is sent, while later ones go ahead
	Reorder bool          // it is held back until the task's end was called back
	Early   bool          // at the creation: the task ends and calls back before the create call is answered
	Thin    bool          // of a success: without results, in one of the shapes that were recorded
	Body    string        // is sent instead of the task object, whatever the status
}

// Fault is what goes wrong with a call: an [Effect], an [Answer], a [Page], a [Raw], [Slow], or nil for nothing.
type Fault interface{ fault() }

// Effect is a named fault.
type Effect string

// The effects on a call that is handled all the same: a create call stores its task. A call that Kling refuses (a full
// pool, a taken external id) is answered as without fault.
const (
	ResetAfterStore      Effect = "reset_after_store"       // the connection is reset
	Gateway504AfterStore Effect = "gateway_504_after_store" // HTML
	TruncateAfterStore   Effect = "truncate_after_store"    // the connection closes in the middle of the body
	HangAfterStore       Effect = "hang_after_store"        // until the client goes or the server is closed
	Error500AfterStore   Effect = "error_500_after_store"   // code 5000
	ExistsAfterStore     Effect = "exists_after_store"      // as if the external id had been used before this call
)

// The effects on a call that is not handled: no task is stored.
const (
	ResetBeforeStore Effect = "reset_before_store"   // the connection is reset
	Error500NoTask   Effect = "error_500_no_task"    // code 5000
	Error503NoTask   Effect = "error_503_no_task"    // code 5001
	HTML502NoTask    Effect = "html_502_no_task"     // no JSON
	HTML404          Effect = "html_404"             // as from a wrong host
	TooFast1302      Effect = "too_fast_1302"        // HTTP 429
	TooFastNoCode429 Effect = "too_fast_no_code_429" // HTTP 429 without a body
	Gone1201         Effect = "gone_1201"            // as recorded of a retired route, 2026-09; its HTTP status was not: 400
)

// Answer is given instead of handling the call.
type Answer struct {
	HTTPStatus int    // zero: the one Kling documents for the code
	Code       int    // zero: an answer that accepts, but has no data
	Message    string // empty: the usual one
}

// Slow is how much later the call is handled, divided by the speed of the simulation.
type Slow time.Duration

func (Effect) fault() {}
func (Answer) fault() {}
func (Slow) fault()   {}

// dice are thrown for faults, and give ids. They are safe for concurrent use.
type dice struct {
	mu  sync.Mutex
	rng *rand.Rand
}

// A server's dice, each with a stream of its own.
const (
	faultDice = iota
	idDice
)

func newDice(seed, stream uint64) *dice { return &dice{rng: rand.New(rand.NewPCG(seed, stream))} }

// falls reports true with that probability.
func (d *dice) falls(probability float64) bool {
	if probability <= 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.rng.Float64() < probability
}

// between returns a number from low to high, both included.
func (d *dice) between(low, high int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return low + d.rng.Int64N(high-low+1)
}

func (d *dice) duration(low, high time.Duration) time.Duration {
	return time.Duration(d.between(int64(low), int64(high)))
}

func pick[T any](d *dice, choices ...T) T { return choices[d.between(0, int64(len(choices)-1))] }

func (s *Server) createFault(v CreateView) Fault {
	f := s.options.Faults
	if f.Create != nil {
		if fault := f.Create(v); fault != nil {
			return fault
		}
	}
	if s.dice.falls(f.LoseReply) {
		return pick(s.dice, ResetAfterStore, Gateway504AfterStore, TruncateAfterStore, Error500AfterStore)
	}
	if v.ExternalID != "" && s.dice.falls(f.KnownID) {
		return ExistsAfterStore
	}
	return s.anyFault()
}

func (s *Server) queryFault(v QueryView) Fault {
	if f := s.options.Faults.Query; f != nil {
		v.Tasks = s.views(v.IDs)
		if fault := f(v); fault != nil {
			return fault
		}
	}
	return s.anyFault()
}

// anyFault throws the dice for what can happen to every call.
func (s *Server) anyFault() Fault {
	f := s.options.Faults
	switch {
	case s.dice.falls(f.ServerError):
		return pick(s.dice, Error500NoTask, Error503NoTask, HTML502NoTask)
	case s.dice.falls(f.TooFast):
		return pick(s.dice, TooFast1302, TooFastNoCode429)
	case s.dice.falls(f.Slow):
		return Slow(s.dice.duration(time.Second, 5*time.Second))
	case s.dice.falls(f.EdgePage):
		return pick(s.dice, edgeAnswers()...)
	default:
		return nil
	}
}

func (s *Server) callbackFault(v CallbackView) CallbackFault {
	f := s.options.Faults
	if f.Callback != nil {
		if fault := f.Callback(v); fault != (CallbackFault{}) {
			return fault
		}
	}
	fault := CallbackFault{
		Lose:    s.dice.falls(f.LoseCallback),
		Reorder: s.dice.falls(f.ReorderCallback),
	}
	if s.dice.falls(f.RepeatCallback) {
		fault.Repeat = int(s.dice.between(1, 3))
	}
	if s.dice.falls(f.LateCallback) {
		fault.Delay = s.dice.duration(5*time.Second, time.Minute)
	}
	switch {
	case v.Status == StatusSubmitted:
		fault.Early = s.dice.falls(f.EarlyCallback)
	case v.Status == success(v.Kind):
		fault.Thin = s.dice.falls(f.ThinCallback)
	}
	return fault
}

func (f Faults) validate() error {
	var errs []error
	for name, p := range map[string]float64{
		"lose callback": f.LoseCallback, "repeat callback": f.RepeatCallback, "late callback": f.LateCallback,
		"reorder callback": f.ReorderCallback, "early callback": f.EarlyCallback, "lose reply": f.LoseReply,
		"server error": f.ServerError, "too fast": f.TooFast, "slow": f.Slow, "edge page": f.EdgePage,
		"odd shape": f.OddShape, "thin callback": f.ThinCallback, "known id": f.KnownID,
	} {
		if p < 0 || p > 1 || math.IsNaN(p) {
			errs = append(errs, fmt.Errorf("fault %s: %g is no probability", name, p))
		}
	}
	return errors.Join(errs...)
}
