package dispatch

import (
	"slices"
	"strings"
	"time"
)

// Held is one pause, for people.
type Held struct {
	Account   string // empty: there is no other to tell it from
	What      string // is paused: everything, an API generation, a pool, or a kind
	Reason    string
	NextProbe time.Time // from when on the next request is tried
}

// what names a scope in words.
func (s Scope) what() string {
	switch {
	case s.kind != "":
		return "kind " + s.kind
	case s.pool != "":
		return "pool " + string(s.pool)
	case s.Generation != "":
		return "API " + string(s.Generation)
	default:
		return "everything"
	}
}

// held lists what is paused.
func (p *Pauses) held() (all []Held) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for scope, a := range p.active {
		all = append(all, Held{What: scope.what(), Reason: a.reason, NextProbe: a.nextProbe})
	}
	slices.SortFunc(all, func(a, b Held) int { return strings.Compare(a.What, b.What) })
	return all
}
