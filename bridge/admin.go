package bridge

import (
	"encoding/json"
	"net/http"
	"sync/atomic"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/console"
)

// admin serves health, readiness, metrics and the console.
type admin struct {
	pauses  *pauses
	metrics http.Handler // nil: none are served
	hosts   hosts
	console *console.Console
	bus     atomic.Pointer[bus.Bus] // nil until NATS was reached
	ready   atomic.Bool             // requests are being taken
	watch   atomic.Pointer[watch]   // nil until then
}

func (a *admin) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /healthz", a.hosts.check(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, http.StatusOK, map[string]bool{"ok": true})
	})))
	mux.Handle("GET /readyz", a.hosts.check(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reasons := a.reasons()
		if len(reasons) > 0 {
			writeJSON(w, http.StatusServiceUnavailable, readiness{Reasons: reasons, Warnings: a.warnings()})
			return
		}
		writeJSON(w, http.StatusOK, readiness{Ready: true, Warnings: a.warnings()})
	})))
	if a.metrics != nil {
		mux.Handle("GET /metrics", a.hosts.check(a.metrics))
	}
	mux.Handle("/", a.console)
	return mux
}

// readiness is the body of /readyz.
type readiness struct {
	Ready    bool     `json:"ready"`
	Reasons  []reason `json:"reasons,omitempty"`
	Warnings []reason `json:"warnings,omitempty"` // what should be mended although requests are taken in
}

func (a *admin) reasons() []reason {
	const component = "nats"
	b := a.bus.Load()
	switch {
	case b == nil:
		return []reason{{component, "not connected yet"}}
	case !b.Connected():
		return append([]reason{{component, "disconnected"}}, a.pauses.reasons()...)
	case !a.ready.Load():
		return append(deniedBy(b), reason{component, "streams and consumers are not ready"})
	default:
		return append(a.watched().reasons(), a.pauses.reasons()...)
	}
}

// watched is what looks after JetStream; before it has begun, one that has found nothing.
func (a *admin) watched() *watch {
	if w := a.watch.Load(); w != nil {
		return w
	}
	return &watch{}
}

func (a *admin) warnings() []reason { return a.watched().warnings() }

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone
}
