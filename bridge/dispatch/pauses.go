package dispatch

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// Pauses holds back requests while nothing would come of sending them: Kling refuses the credentials or the account, or
// something before it answers in its place. Nothing is rejected for what a person has to mend. One request every interval
// is let through to see whether it is mended.
//
// What a pause covers goes by the evidence. An answer that is not Kling's pauses its kind; only when the account's costs
// fare the same does everything pause, see edge.go.
//
// Safe for concurrent use.
type Pauses struct {
	Interval time.Duration
	log      *slog.Logger

	mu        sync.Mutex
	active    map[Scope]*pause
	answers   map[string]time.Time // by kind: when the last request was sent that Kling has answered itself
	disproved bool                 // requests went through while everything was paused: the costs are no evidence
	changed   func()               // called after a pause began or ended; nil: nobody listens
	Suspected chan struct{}        // of capacity 1: an answer that is not Kling's has come
}

type pause struct {
	reason    string
	since     time.Time
	nextProbe time.Time
	lastKind  string    // of the last request that fared so
	lastSent  time.Time // when that was sent
}

const (
	// soonProbe is when another request is tried after the first answer that is not Kling's: one body may be all it is about.
	soonProbe = time.Second
	// abandoned is how long a kind stays paused for want of a request to try. The next one will be tried anyway.
	abandoned = 10 * time.Minute
)

// NewPauses probes a pause every interval.
func NewPauses(interval time.Duration, log *slog.Logger) *Pauses {
	return &Pauses{
		Interval: interval, log: log, active: map[Scope]*pause{}, answers: map[string]time.Time{},
		Suspected: make(chan struct{}, 1),
	}
}

// Listen has f called after each change of what is paused, with nothing locked.
func (p *Pauses) Listen(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.changed = f
}

// allow reports whether a request may be sent. While paused it says yes once every interval: that one is the probe.
func (p *Pauses) allow(k kling.Kind, now time.Time) bool {
	all := scopes(k)
	return p.allowIn(all[:], now)
}

// allowQuery is allow for a question: credentials must be good, but what stands before the create calls of the kind may
// let it pass.
func (p *Pauses) allowQuery(k kling.Kind, now time.Time) bool {
	return p.allowIn([]Scope{{Generation: k.Generation}, {Generation: k.Generation, pool: k.Pool}}, now)
}

// allowForeign is what allowQuery leaves out of allow.
func (p *Pauses) allowForeign(k kling.Kind, now time.Time) bool {
	return p.allowIn([]Scope{everything, kindScope(k)}, now)
}

func (p *Pauses) allowIn(scopes []Scope, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.active) == 0 {
		return true
	}
	var active []*pause
	for _, scope := range scopes {
		if a := p.active[scope]; a != nil {
			if now.Before(a.nextProbe) {
				return false
			}
			active = append(active, a)
		}
	}
	for _, a := range active {
		a.nextProbe = now.Add(p.Interval)
	}
	return true
}

// any reports whether anything is paused.
func (p *Pauses) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.active) > 0
}

// holds reports whether a request of the kind is sent only as a probe.
func (p *Pauses) holds(k kling.Kind) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.active) == 0 { // as most often
		return false
	}
	for _, scope := range scopes(k) {
		if p.active[scope] != nil {
			return true
		}
	}
	return false
}

// holdsKind reports whether requests of this one kind are held back, others of its pool perhaps not.
func (p *Pauses) holdsKind(k kling.Kind) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active[kindScope(k)] != nil
}

// Probe tells when a request of the kind may be the next probe and which kind the last one was of. It reports false
// where nothing is paused.
func (p *Pauses) Probe(k kling.Kind) (at time.Time, last string, paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, scope := range scopes(k) {
		a := p.active[scope]
		if a == nil {
			continue
		}
		paused = true
		if a.nextProbe.After(at) {
			at = a.nextProbe
		}
		if scope.kind == "" {
			last = a.lastKind
		}
	}
	return at, last, paused
}

// Failed pauses what an error of Kling's, or of something before it, covers. It reports whether this answer says more than
// others did: it began the pause, or its request was sent to probe it.
func (p *Pauses) Failed(k kling.Kind, err *kling.Error, sent, now time.Time) (telling bool) {
	scope, wait := Scope{Generation: k.Generation, pool: k.Pool}, p.Interval
	switch {
	case err.Foreign:
		scope, wait = kindScope(k), min(p.Interval, soonProbe)
		defer p.suspect()
	case err.AccountWide:
		scope.pool = ""
	}
	return p.begin(scope, k.Name, err.Error(), sent, now, wait)
}

// FailedEverywhere pauses everything: what has nothing to do with any kind is not answered by Kling either.
func (p *Pauses) FailedEverywhere(err *kling.Error, now time.Time) {
	p.mu.Lock()
	disproved := p.disproved
	p.mu.Unlock()
	if !disproved {
		p.begin(everything, "", err.Error(), now, now, p.Interval)
	}
}

// Lost pauses a kind of which Kling takes creates whose answers and tasks are not to be had.
func (p *Pauses) Lost(k kling.Kind, why string, now time.Time) {
	p.begin(kindScope(k), k.Name, why, now, now, p.Interval)
}

func (p *Pauses) begin(scope Scope, kind, why string, sent, now time.Time, wait time.Duration) (telling bool) {
	p.mu.Lock()
	if a := p.active[everything]; a != nil && kind != "" {
		a.lastKind = kind
	}
	if a := p.active[scope]; a != nil {
		defer p.mu.Unlock()
		if sent.Before(a.since) { // on its way when the pause began
			return false
		}
		a.reason, a.nextProbe = why, now.Add(p.Interval)
		a.lastKind, a.lastSent = cmp.Or(kind, a.lastKind), sent
		return true
	}
	p.active[scope] = &pause{reason: why, since: now, nextProbe: now.Add(wait), lastKind: kind, lastSent: sent}
	p.mu.Unlock()
	p.log.Error("paused: somebody has to act", slog.String("component", scope.Component()),
		slog.String("generation", string(scope.Generation)), slog.String("reason", why), slog.Duration("probe_interval", p.Interval))
	p.tell()
	return true
}

func (p *Pauses) tell() {
	p.mu.Lock()
	changed := p.changed
	p.mu.Unlock()
	if changed != nil {
		changed()
	}
}

func (p *Pauses) suspect() {
	select {
	case p.Suspected <- struct{}{}:
	default:
	}
}

// Succeeded ends the pauses that a successful call disproves.
func (p *Pauses) Succeeded(k kling.Kind, sent time.Time) {
	p.Answered(k, sent)
	all := scopes(k)
	p.end(sent, all[:]...)
}

// Made ends the pause of a kind whose evidence is a request sent at the given time, the last one that fared so: its task is there,
// so that Kling has got it, and only its answer was lost. Without that the kind would stay paused until another request of it comes.
func (p *Pauses) Made(k kling.Kind, sent time.Time) {
	if p.remove(func(scope Scope, a *pause) bool { return scope == kindScope(k) && a.lastSent.Equal(sent) }) {
		p.tell()
	}
}

// Authenticated ends the pause of a whole generation: an answer has shown that its credentials are good.
func (p *Pauses) Authenticated(k kling.Kind, sent time.Time) {
	p.end(sent, Scope{Generation: k.Generation})
}

// Answered ends the pauses that any answer of Kling's own disproves, a refusal as well.
func (p *Pauses) Answered(k kling.Kind, sent time.Time) {
	p.mu.Lock()
	if a := p.active[everything]; a != nil && !sent.Before(a.since) {
		p.disproved = true
		p.suspect() // or are the costs answered again?
	}
	if sent.After(p.answers[k.Name]) {
		p.answers[k.Name] = sent
	}
	p.mu.Unlock()
	p.end(sent, everything, kindScope(k))
}

// Reached ends the pause of everything: the account's costs are answered by Kling again.
func (p *Pauses) Reached(sent time.Time) {
	p.mu.Lock()
	p.disproved = false
	p.mu.Unlock()
	p.end(sent, everything)
}

// Passed reports whether Kling has answered a request of the kind itself that was sent after the given time.
func (p *Pauses) Passed(k kling.Kind, after time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.active[everything] == nil && p.answers[k.Name].After(after)
}

// end removes the pauses that a request sent at the given time disproves: one sent before a pause began does not.
func (p *Pauses) end(sent time.Time, scopes ...Scope) {
	if p.remove(func(scope Scope, a *pause) bool {
		return slices.Contains(scopes, scope) && !sent.Before(a.since)
	}) {
		p.tell()
	}
}

// abandon ends the pauses of kinds that nobody has had a request of for long: they keep nobody waiting.
func (p *Pauses) abandon(now time.Time) {
	if p.remove(func(scope Scope, a *pause) bool {
		return scope.foreign() && now.Sub(a.nextProbe) > abandoned
	}) {
		p.tell()
	}
}

func (p *Pauses) remove(over func(Scope, *pause) bool) (removed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for scope, a := range p.active {
		if over(scope, a) {
			removed = true
			delete(p.active, scope)
			p.log.Info("resumed", slog.String("component", scope.Component()), slog.String("generation", string(scope.Generation)))
		}
	}
	return removed
}

// scopedReason is why a scope is paused.
type scopedReason struct {
	scope  Scope
	reason string
}

// scoped lists what is paused and why.
func (p *Pauses) scoped() []scopedReason {
	p.abandon(time.Now())
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []scopedReason
	for scope, a := range p.active {
		out = append(out, scopedReason{scope, a.reason})
	}
	slices.SortFunc(out, func(a, b scopedReason) int {
		return strings.Compare(a.scope.Component()+a.reason, b.scope.Component()+b.reason)
	})
	return out
}

// Of lists why nothing is sent of a kind.
func (p *Pauses) Of(k kling.Kind) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, scope := range scopes(k) {
		if a := p.active[scope]; a != nil && !slices.Contains(out, a.reason) {
			out = append(out, a.reason)
		}
	}
	return out
}

// NamedOf is of, with the name of the kind before what covers no other.
func (p *Pauses) NamedOf(k kling.Kind) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, scope := range scopes(k) {
		switch a := p.active[scope]; {
		case a == nil:
		case scope.kind != "":
			out = append(out, "kind "+scope.kind+": "+a.reason)
		default:
			out = append(out, a.reason)
		}
	}
	return out
}

// AllScopes lists everything that can be paused.
func AllScopes(kinds kling.Kinds) []Scope {
	var all []Scope
	seen := map[Scope]bool{}
	for _, k := range kinds.All() {
		for _, scope := range scopes(k) {
			if !seen[scope] {
				seen[scope] = true
				all = append(all, scope)
			}
		}
	}
	return all
}

// Scopes returns what is paused now.
func (p *Pauses) Scopes() map[Scope]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	paused := make(map[Scope]bool, len(p.active))
	for scope := range p.active {
		paused[scope] = true
	}
	return paused
}
