package bridge

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// hosts knows the names by which the admin listener may be asked for what it tells without a token. Somebody may make a
// name of theirs lead to this machine, so that a page of theirs, in a browser here, may read what the name answers. They
// can't do so with an address, which is what probes and Prometheus mostly use, nor with a name that only a private network
// knows.
type hosts struct {
	loopback bool            // the listener is on loopback: nobody has reason to use a name of a network
	names    map[string]bool // that an operator has set, in lower case
}

func newHosts(loopback bool, names []string) hosts {
	h := hosts{loopback: loopback, names: map[string]bool{}}
	for _, name := range names {
		h.names[strings.ToLower(name)] = true
	}
	return h
}

// check answers 403 to who asks by a name that is none of them.
func (h hosts) check(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.allow(r.Host) {
			http.Error(w, "The bridge does not know itself by this Host. Ask by its address, or add the name to BRIDGE_ADMIN_HOSTS.",
				http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// allow reports whether a Host header may have been sent by somebody of ours. Only HTTP/1.0, which no browser speaks, comes
// without one.
func (h hosts) allow(hostport string) bool {
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = strings.Trim(hostport, "[]")
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "" {
		return true
	}
	return host == "localhost" || h.names[host] || !h.loopback && isPrivateName(host)
}

// isPrivateName tells a name that can't be bought: one without a dot, as Docker's services have, or below what only private
// networks use, such as bridge.media.svc and bridge.media.svc.cluster.local in Kubernetes.
func isPrivateName(host string) bool {
	last := host[strings.LastIndexByte(host, '.')+1:]
	return last == host || last == "svc" || last == "local" || last == "internal"
}
