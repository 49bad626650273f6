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

// callbackPath returns the parts of a path below the callback prefix, at least one, and whether it lies there.
func callbackPath(r *http.Request, prefix string) (parts []string, ok bool) {
	path := r.URL.EscapedPath()
	if !strings.HasPrefix(path, callbackPrefix) {
		path = strings.TrimPrefix(path, prefix)
	}
	path, ok = strings.CutPrefix(path, callbackPrefix)
	return strings.Split(path, "/"), ok
}

// route finds what a URL is about. Nothing about a wrong one is said but that it is wrong.
func (lr *Live) route(r *http.Request, parts []string) (kind kling.Kind, token string, o outcome) {
	kind, known := lr.Kinds.Lookup(parts[0])
	switch {
	case !known:
		return kind, "", outcomeForged
	case len(parts) == 1 && (lr.Adopter != nil || lr.Webhook != nil):
	case len(parts) == 3 && events.IsToken(parts[1]) && lr.Signer.verify(parts[0], parts[1], parts[2]):
		token = parts[1]
	default:
		return kind, "", outcomeForged
	}
	switch {
	case r.Method == http.MethodPost:
		return kind, token, outcomeTaken
	case token == "" && lr.Adopter == nil:
		return kind, "", outcomeForged
	default:
		return kind, "", outcomeNotPosted
	}
}
