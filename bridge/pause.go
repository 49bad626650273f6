package bridge

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// pauses holds back requests while Kling refuses the credentials or the account: nothing is rejected for what a person
// has to mend. One request every interval is let through to see whether it is mended.
//
// Safe for concurrent use.
type pauses struct {
	interval time.Duration
	log      *slog.Logger

	mu     sync.Mutex
	active map[pauseScope]*pause
}

// pauseScope is what is paused: one pool of an API generation, or every pool of it.
type pauseScope struct {
	generation kling.Generation
	pool       kling.Pool // empty: every pool
}

func (s pauseScope) component() string {
	if s.pool == "" {
		return "kling"
	}
	return "pool:" + string(s.pool)
}

type pause struct {
	reason    string
	nextProbe time.Time
}

func newPauses(interval time.Duration, log *slog.Logger) *pauses {
	return &pauses{interval: interval, log: log, active: map[pauseScope]*pause{}}
}

// allow reports whether a request may be sent. While paused it says yes once every interval: that one is the probe.
func (p *pauses) allow(k kling.Generation, pool kling.Pool, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	var active []*pause
	for _, scope := range scopes(k, pool) {
		if a := p.active[scope]; a != nil {
			if now.Before(a.nextProbe) {
				return false
			}
			active = append(active, a)
		}
	}
	for _, a := range active {
		a.nextProbe = now.Add(p.interval)
	}
	return true
}

func scopes(k kling.Generation, pool kling.Pool) [2]pauseScope {
	return [2]pauseScope{{generation: k}, {generation: k, pool: pool}}
}

// failed pauses what an error of Kling's covers.
func (p *pauses) failed(k kling.Generation, pool kling.Pool, err *kling.Error, now time.Time) {
	scope := pauseScope{generation: k, pool: pool}
	if err.AccountWide {
		scope.pool = ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.active[scope]; a != nil {
		a.reason, a.nextProbe = err.Error(), now.Add(p.interval)
		return
	}
	p.active[scope] = &pause{reason: err.Error(), nextProbe: now.Add(p.interval)}
	p.log.Error("paused: somebody has to act", slog.String("component", scope.component()),
		slog.String("generation", string(k)), slog.Any("err", err), slog.Duration("probe_interval", p.interval))
}

// succeeded ends the pauses that a successful call disproves.
func (p *pauses) succeeded(k kling.Generation, pool kling.Pool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, scope := range scopes(k, pool) {
		p.end(scope)
	}
}

// authenticated ends the pause of a whole generation: an answer has shown that its credentials are good.
func (p *pauses) authenticated(k kling.Generation) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.end(pauseScope{generation: k})
}

// end removes a pause, if there is one; the caller holds the mutex.
func (p *pauses) end(scope pauseScope) {
	if p.active[scope] == nil {
		return
	}
	delete(p.active, scope)
	p.log.Info("resumed", slog.String("component", scope.component()), slog.String("generation", string(scope.generation)))
}

// reason is one entry of the readiness answer.
type reason struct {
	Component string `json:"component"`
	Reason    string `json:"reason"`
}

// reasons lists what is paused and why.
func (p *pauses) reasons() []reason {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []reason
	for scope, a := range p.active {
		out = append(out, reason{Component: scope.component(), Reason: a.reason})
	}
	slices.SortFunc(out, func(a, b reason) int { return strings.Compare(a.Component+a.Reason, b.Component+b.Reason) })
	return out
}

// of lists why nothing is sent for a pool of an API generation.
func (p *pauses) of(k kling.Generation, pool kling.Pool) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, scope := range scopes(k, pool) {
		if a := p.active[scope]; a != nil {
			out = append(out, a.reason)
		}
	}
	return out
}
