package callback

import (
	"net/http"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/listener"
)

// Answer says nothing beyond the status: whoever calls without proof learns nothing. A connection of HTTP/1 ends with it for
// who is refused, because what is yet to be sent is not read, and for a stranger. In HTTP/2 that would concern other
// streams too, which a proxy may have on the connection: there a stranger's time runs out.
func Answer(w http.ResponseWriter, r *http.Request, status int) {
	if r.ProtoMajor == 1 && (status != http.StatusOK || !listener.CallerOf(r.Context()).HasProven()) {
		w.Header().Set("Connection", "close")
	}
	switch status {
	case http.StatusOK:
		w.WriteHeader(status)
		return
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusUnsupportedMediaType:
		w.Header().Set("Accept-Encoding", "identity")
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", retryAfter)
	}
	http.Error(w, http.StatusText(status), status)
}

// isHealthProbe tells what load balancers send to see whether anybody listens. The answer says just that, to anybody: what
// the bridge can do is on the admin listener.
func isHealthProbe(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == "/" || r.URL.Path == "/healthz")
}

// isCompressed tells a body that would have to be decompressed. Kling sends none, and what somebody else's would become is
// not known before.
func isCompressed(r *http.Request) bool {
	for _, value := range r.Header.Values("Content-Encoding") {
		for coding := range strings.SplitSeq(value, ",") {
			coding = strings.TrimSpace(coding)
			if coding != "" && !strings.EqualFold(coding, "identity") {
				return true
			}
		}
	}
	return false
}
