package dispatch

import "github.com/klingbridge/klingbridge/bridge/kling"

// Scope is what is paused: everything, an API generation, one pool of it, or one kind.
type Scope struct {
	Generation kling.Generation // empty: every one
	pool       kling.Pool       // empty: every one
	kind       string           // empty: every one
}

var everything = Scope{}

func kindScope(k kling.Kind) Scope { return Scope{k.Generation, k.Pool, k.Name} }

// Component is how readiness and metrics name the scope.
func (s Scope) Component() string {
	switch {
	case s.kind != "":
		return "kind:" + s.kind
	case s.pool != "":
		return "pool:" + string(s.pool)
	default:
		return "kling"
	}
}

// foreign tells the pauses that answers not of Kling's begin.
func (s Scope) foreign() bool { return s == everything || s.kind != "" }

// scopes lists what covers a kind.
func scopes(k kling.Kind) [4]Scope {
	return [4]Scope{everything, {Generation: k.Generation}, {Generation: k.Generation, pool: k.Pool}, kindScope(k)}
}
