package bridge

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// admin serves health, readiness, metrics and the console.
type admin struct {
	pauses  dispatch.AccountPauses
	kinds   kling.Kinds
	metrics http.Handler // nil: none are served
	hosts   hosts
	console *console.Console
	bus     atomic.Pointer[bus.Bus]                       // nil until NATS was reached
	ready   atomic.Bool                                   // requests are being taken
	blocked atomic.Pointer[string]                        // what keeps the bridge from starting; nil: nothing is known
	watch   atomic.Pointer[watch]                         // nil until then
	pools   atomic.Pointer[map[kling.Pool]*dispatch.Pool] // nil until then
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
	Ready    bool              `json:"ready"`
	Reasons  []dispatch.Reason `json:"reasons,omitempty"`
	Warnings []dispatch.Reason `json:"warnings,omitempty"` // what should be mended although requests are taken in
}

func (a *admin) reasons() []dispatch.Reason {
	const component = "nats"
	b := a.bus.Load()
	switch {
	case b == nil:
		return []dispatch.Reason{{Component: component, Reason: "not connected yet"}}
	case !b.Connected():
		return append([]dispatch.Reason{{Component: component, Reason: "disconnected"}}, a.paused()...)
	case !a.ready.Load():
		text := "streams and consumers are not ready"
		if why := a.blocked.Load(); why != nil {
			text += ": " + *why
		}
		return append(deniedBy(b), dispatch.Reason{Component: component, Reason: text})
	default:
		return append(a.watched().reasons(), a.paused()...)
	}
}

// watched is what looks after JetStream; before it has begun, one that has found nothing.
func (a *admin) watched() *watch {
	if w := a.watch.Load(); w != nil {
		return w
	}
	return &watch{}
}

// paused lists what no account is left for.
func (a *admin) paused() []dispatch.Reason {
	reasons, _ := a.pauses.Reasons(a.kinds)
	return reasons
}

func (a *admin) warnings() []dispatch.Reason {
	_, paused := a.pauses.Reasons(a.kinds)
	return slices.Concat(a.watched().warnings(), paused, a.strays())
}

// strays tells of accounts that are not configured any more and have tasks in flight.
func (a *admin) strays() []dispatch.Reason {
	if pools := a.pools.Load(); pools != nil {
		return dispatch.StrayReasons(*pools)
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client is gone
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

// readinessMetrics show what readiness says.
type readinessMetrics struct {
	meter     *telemetry.Meter
	ready     metric.Int64ObservableGauge
	callbacks metric.Int64ObservableGauge
	paused    metric.Int64ObservableGauge
}

func newReadinessMetrics(m *telemetry.Meter) *readinessMetrics {
	return &readinessMetrics{
		meter:     m,
		ready:     m.Gauge("kling.ready", "", "1 while this replica takes requests and nothing is paused."),
		callbacks: m.Gauge("kling.callbacks.enabled", "", "1 where tasks have a callback URL, 0 without BRIDGE_PUBLIC_URL."),
		paused: m.Gauge("kling.paused", "",
			"1 while Kling refuses the credentials or the account, or something before it answers in its place."),
	}
}

// showReadiness shows what readiness says, until the registration is ended.
func (b *Bridge) showReadiness() (metric.Registration, error) {
	m := b.metrics.readiness
	return m.meter.Observe(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(m.ready, flag(len(b.admin.reasons()) == 0))
		o.ObserveInt64(m.callbacks, flag(b.opts.PublicURL != ""))
		for _, account := range b.pauses {
			b.showPauses(o, account)
		}
		return nil
	}, m.ready, m.callbacks, m.paused)
}

// showPauses names the account only where there is one to tell it from.
func (b *Bridge) showPauses(o metric.Observer, account *dispatch.AccountPause) {
	paused := account.Scopes()
	for _, scope := range dispatch.AllScopes(b.opts.Kinds) {
		labels := []attribute.KeyValue{
			attribute.String(telemetry.AttrComponent, scope.Component()), attribute.String(telemetry.AttrGeneration, string(scope.Generation)),
		}
		if !b.accounts.Plain() {
			labels = append(labels, attribute.String(telemetry.AttrAccount, account.Account))
		}
		o.ObserveInt64(b.metrics.readiness.paused, flag(paused[scope]), metric.WithAttributes(labels...))
	}
}
