package callback

import (
	"net/http"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

const (
	callbackPrefix = "/callbacks/"
	callbackRoute  = "/callbacks/{kind}/{token}/{signature}"
)

// callbackPath appends the parts of a path below the callback prefix, at least one, and reports whether it lies there.
func callbackPath(parts []string, r *http.Request, prefix string) (all []string, ok bool) {
	path := r.URL.EscapedPath()
	if !strings.HasPrefix(path, callbackPrefix) {
		path = strings.TrimPrefix(path, prefix)
	}
	path, ok = strings.CutPrefix(path, callbackPrefix)
	for {
		part, rest, more := strings.Cut(path, "/")
		parts = append(parts, part)
		if !more {
			return parts, ok
		}
		path = rest
	}
}

// route finds who receives the callbacks of a URL. Nothing about a wrong one is said but that it is wrong.
func (lr *Live) route(r *http.Request, parts []string) (handler, outcome) {
	kind, known := lr.Kinds.Lookup(parts[0])
	posted := r.Method == http.MethodPost
	switch {
	case !known:
		return nil, outcomeForged
	case len(parts) == 1:
		return lr.routeAdoption(kind, posted)
	case len(parts) != 3 || !events.IsToken(parts[1]) || !lr.Signer.verify(parts[0], parts[1], parts[2]):
		return nil, outcomeForged
	case !posted:
		return nil, outcomeNotPosted
	default:
		return &ownURL{Live: lr, kind: kind, token: parts[1]}, outcomeTaken
	}
}

func (lr *Live) routeAdoption(kind kling.Kind, posted bool) (handler, outcome) {
	switch {
	case lr.Adopter == nil && (!lr.signs() || !posted):
		return nil, outcomeForged
	case !posted:
		return nil, outcomeNotPosted
	case lr.Adopter == nil:
		return consoleTest{Live: lr, kind: kind}, outcomeTaken
	default:
		return adoption{Live: lr, kind: kind}, outcomeTaken
	}
}
