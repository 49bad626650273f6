package klingtest

import (
	"fmt"
	"strconv"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// Ids are 18 digits, beyond what a float64 holds exactly, as today's are (recorded, 2026).
const (
	firstID       = 871_000_000_000_000_000
	firstIDSpread = 1_000_000_000_000_000
	idStep        = 997    // at most, from one id to the next
	idPerMilli    = 10_000 // room for some twenty ids a millisecond, and for 18 digits until the year 2375
)

// startID returns what the first id follows. Without a seed it grows with the clock, as Kling's own ids do: a bridge that
// outlives the simulation must never see an id twice.
func (o Options) startID(ids *dice) int64 {
	if o.Seed != 0 {
		return ids.between(firstID, firstID+firstIDSpread)
	}
	return firstID + o.Now().UnixMilli()*idPerMilli
}

// task is what the account knows of one. The server's mutex guards it.
type task struct {
	TaskView
	number    int    // in the order of creation
	base      string // URL of the host that serves its results
	watermark bool
	seconds   int      // asked for
	quality   string   // mode, or resolution
	source    string   // id of the video it works on
	series    bool     // of images
	inputs    []string // URLs of this machine
	results   []media
	callbacks outbox
}

// newID returns an id of a task, video or callback. The caller holds mu.
func (s *Server) newID() string {
	s.lastID += s.ids.between(1, idStep)
	return strconv.FormatInt(s.lastID, 10)
}

// Finish ends the task with that task id or external id now, whatever its duration. A task that has ended stays as it
// is; one that doesn't exist is an error.
func (s *Server) Finish(id string) error {
	s.mu.Lock()
	t := s.lookup(id)
	s.mu.Unlock()
	if t == nil {
		return fmt.Errorf("finish task %q: there is no such task", id)
	}
	s.end(t)
	return nil
}

// begin sets the clock of a stored task, or ends it at once, with its callback, where the fault is an early one.
func (s *Server) begin(t *task, view TaskView) {
	fault := s.callbackFault(CallbackView{view, !s.callsBack(view)})
	if fault.Early {
		s.end(t)
		s.awaitCallbacks(t)
	}
	s.callBack(t, view, fault)
	if fault.Early {
		return
	}
	total := s.options.Duration
	if s.options.DurationOf != nil {
		total = s.options.DurationOf(view)
	}
	s.work.after(s.scaled(min(s.options.SubmittedFor, total/2)), func() { s.process(t) })
	s.work.after(s.scaled(total), func() { s.end(t) })
}

// process moves a task from submitted to processing.
func (s *Server) process(t *task) {
	s.mu.Lock()
	if t.Status != StatusSubmitted {
		s.mu.Unlock()
		return
	}
	t.Status, t.UpdatedAt = StatusProcessing, s.options.Now()
	view := t.TaskView
	s.mu.Unlock()
	s.changed(t, view)
}

// end ends a task that has not ended.
func (s *Server) end(t *task) {
	s.mu.Lock()
	view := t.TaskView
	s.mu.Unlock()
	message, failed := s.verdict(t, view)

	s.mu.Lock()
	if t.Ended() {
		s.mu.Unlock()
		return
	}
	now := s.options.Now()
	t.Status, t.UpdatedAt, t.EndedAt = success(t.Kind), now, now
	if failed {
		t.Status, t.Message = StatusFailed, message
	} else {
		t.results = s.results(t)
	}
	// The slot is free before anybody hears of the end.
	s.take(t, -t.Slots, now)
	view = t.TaskView
	s.mu.Unlock()
	s.changed(t, view)
}

// verdict says whether a task fails. What it reads of t never changes.
func (s *Server) verdict(t *task, view TaskView) (message string, failed bool) {
	if t.quality == "480p" {
		return "video resolution value '480p' is invalid", true // taken at creation all the same (a live probe, 2026-09)
	}
	if message := s.fetchAll(t.inputs); message != "" {
		return message, true
	}
	return s.options.Fail(view)
}

func success(k kling.Kind) string {
	if k.Generation == kling.V1 || k.Name == tryOnSolution {
		return StatusSucceed
	}
	return StatusSucceeded
}

// changed tells the world of a new status.
func (s *Server) changed(t *task, view TaskView) {
	s.tell(Event{Type: Changed, Task: view, Status: view.Status})
	s.callBack(t, view, s.callbackFault(CallbackView{view, !s.callsBack(view)}))
}
