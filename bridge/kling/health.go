package kling

import (
	"sync"
	"time"
)

const (
	// HealthWindow is how far back [Health] counts calls.
	HealthWindow = 5 * time.Minute
	healthStep   = 10 * time.Second
)

// Health knows how Kling has answered lately. The zero value is ready. Safe for concurrent use.
type Health struct {
	mu    sync.Mutex
	known HealthReport
	steps [HealthWindow / healthStep]struct {
		began         time.Time
		calls, errors int
	}
}

// HealthReport is how Kling has answered lately.
type HealthReport struct {
	AnsweredAt time.Time // of the last answer that was Kling's own, be it a refusal; zero: none yet
	FailedAt   time.Time // of the last call that failed for no fault of the request; zero: none yet
	Failure    string    // what was wrong with that one, in a few words
	Calls      int       // within [HealthWindow]
	Errors     int       // those of them that failed for no fault of the request
}

// Note takes in a call that has ended.
func (h *Health) Note(c Call, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := now.Truncate(healthStep)
	step := &h.steps[now.UnixNano()/int64(healthStep)%int64(len(h.steps))]
	if !step.began.Equal(began) {
		step.began, step.calls, step.errors = began, 0, 0
	}
	step.calls++
	if c.Err == nil || c.Err.Code != 0 {
		h.known.AnsweredAt = now
	}
	if c.Err == nil || c.Err.NotFound || c.Err.Action == ActionReject || c.Err.Action == ActionWait {
		return
	}
	step.errors++
	h.known.FailedAt, h.known.Failure = now, c.Err.Brief()
}

// Report sums up.
func (h *Health) Report(now time.Time) HealthReport {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.known
	for _, step := range h.steps {
		if now.Sub(step.began) < HealthWindow {
			r.Calls += step.calls
			r.Errors += step.errors
		}
	}
	return r
}
