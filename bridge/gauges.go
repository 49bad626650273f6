package bridge

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// gauges are the instruments that are read when somebody collects.
type gauges struct {
	meter metric.Meter

	ready     metric.Int64ObservableGauge
	callbacks metric.Int64ObservableGauge
	paused    metric.Int64ObservableGauge
	used      metric.Int64ObservableGauge
	limit     metric.Int64ObservableGauge
	bound     metric.Int64ObservableGauge
	waiting   metric.Int64ObservableGauge
	age       metric.Float64ObservableGauge
}

func (g *gauges) create(meter metric.Meter) error {
	g.meter = meter
	var errs []error
	gauge := func(name, unit, description string) metric.Int64ObservableGauge {
		o, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return o
	}
	g.ready = gauge("kling.ready", "", "1 while this replica takes requests and nothing is paused.")
	g.callbacks = gauge("kling.callbacks.enabled", "", "1 where tasks have a callback URL, 0 without BRIDGE_PUBLIC_URL.")
	g.paused = gauge("kling.paused", "", "1 while Kling refuses the credentials or the account, or something before it answers in its place.")
	g.used = gauge("kling.slots.used", "{slot}", "Slots taken by tasks in flight and create calls under way, of all replicas.")
	g.limit = gauge("kling.slots.limit", "{slot}", "Slots there are, as learned from Kling's refusals; absent until the first.")
	g.bound = gauge("kling.slots.cap", "{slot}", "Upper bound set by BRIDGE_CONCURRENCY; absent where there is none.")
	g.waiting = gauge("kling.waiting.requests", "{request}", "Requests stored that are no task yet, of all replicas.")
	var err error
	g.age, err = meter.Float64ObservableGauge("kling.waiting.age", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest request that is no task yet, of all replicas; 0 when there is none."))
	return errors.Join(append(errs, err)...)
}

// observeReadiness shows what readiness says, until the registration is ended.
func (b *Bridge) observeReadiness() (metric.Registration, error) {
	g := b.telemetry.metrics.gauges
	return g.meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(g.ready, flag(len(b.admin.reasons()) == 0))
		o.ObserveInt64(g.callbacks, flag(b.opts.PublicURL != ""))
		paused := b.pauses.scopes()
		for _, scope := range allScopes(b.opts.Kinds) {
			o.ObserveInt64(g.paused, flag(paused[scope]), metric.WithAttributes(
				attribute.String(attrComponent, scope.component()), attribute.String(attrGeneration, string(scope.generation))))
		}
		return nil
	}, g.ready, g.callbacks, g.paused)
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

// allScopes lists everything that can be paused.
func allScopes(kinds kling.Kinds) []pauseScope {
	var all []pauseScope
	seen := map[pauseScope]bool{}
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

// scopes returns what is paused now.
func (p *pauses) scopes() map[pauseScope]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	paused := make(map[pauseScope]bool, len(p.active))
	for scope := range p.active {
		paused[scope] = true
	}
	return paused
}

// observe shows slots and waiting requests until the registration is ended.
func (p *parts) observe(g gauges) (metric.Registration, error) {
	return g.meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		for name, pool := range p.pools {
			observeSlots(o, g, name, pool.slots)
		}
		if b, ok := p.backlog.get(ctx); ok {
			for lane, n := range b.waiting {
				o.ObserveInt64(g.waiting, n, metric.WithAttributes(
					attribute.String(attrPool, string(lane.pool)), attribute.String(attrPriority, priorityName(lane.priority))))
			}
			o.ObserveFloat64(g.age, b.age())
		}
		return nil
	}, g.used, g.limit, g.bound, g.waiting, g.age)
}

func observeSlots(o metric.Observer, g gauges, name kling.Pool, s *slots) {
	attrs := metric.WithAttributes(attribute.String(attrPool, string(name)))
	used, limit, bound := s.measure()
	o.ObserveInt64(g.used, int64(used), attrs)
	if limit != unknownLimit {
		o.ObserveInt64(g.limit, int64(limit), attrs)
	}
	if bound > 0 {
		o.ObserveInt64(g.bound, int64(bound), attrs)
	}
}

// measure returns the slots in use, the learned limit or unknownLimit, and the configured bound or 0.
func (s *slots) measure() (used, limit, bound int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserved + s.held, s.limit, s.bound
}

// measureModel returns the slots of a model in use, and those that it is known to have by itself or unknownLimit. Where the
// pool may be what is full, that is not known.
func (s *slots) measureModel(model string) (used, own int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.models[model]
	if m == nil {
		return 0, unknownLimit
	}
	return m.reserved + m.held, m.limit
}

// refused gives a job's slots back after Kling said that there is no capacity, and says what was learned from it.
func (p *pool) refused(j *job, now time.Time) {
	of := j.req.need()
	pool, model := p.slots.limits(of.model)
	p.slots.refused(j.req.token, of, now)
	poolNow, modelNow := p.slots.limits(of.model)
	if pool != poolNow || model != modelNow {
		p.log.Info("capacity learned", slog.String("pool", string(p.name)), slog.Int("limit", poolNow),
			slog.String("model", of.model), slog.Int("model_limit", modelNow))
	}
}

// limits returns the learned limits of the pool and of a model in it, or unknownLimit.
func (s *slots) limits(model string) (pool, own int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	own, _ = s.ownLimit(model)
	return s.limit, own
}

// backlogReader tells what waits in the requests stream. It asks at most every backlogFresh, however many collect, and
// only if somebody does.
//
// Safe for concurrent use.
type backlogReader struct {
	bus      *bus.Bus
	subjects events.Subjects
	kinds    kling.Kinds

	mu    sync.Mutex
	asked time.Time
	last  *backlog // nil while the stream can't be asked
}

const (
	backlogFresh = 10 * time.Second
	backlogTime  = time.Second // a collection waits no longer for it
)

// backlog is what waits at one time.
type backlog struct {
	waiting map[lane]int64 // by pool and priority
	oldest  time.Time      // zero when nothing waits
}

func (b *backlog) age() float64 {
	if b.oldest.IsZero() {
		return 0
	}
	return sinceSeconds(b.oldest)
}

func (r *backlogReader) get(ctx context.Context) (*backlog, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.asked) >= backlogFresh {
		r.last = r.read(ctx)
		r.asked = time.Now()
	}
	return r.last, r.last != nil
}

func (r *backlogReader) read(ctx context.Context) *backlog {
	ctx, cancel := context.WithTimeout(ctx, backlogTime)
	defer cancel()
	state, err := r.bus.StateOf(ctx, r.subjects.RequestsStream(), r.subjects.AllRequests())
	if err != nil {
		return nil
	}
	b := &backlog{waiting: map[lane]int64{}}
	for _, pool := range r.kinds.Pools() {
		for _, priority := range events.Priorities() {
			b.waiting[lane{pool: pool, priority: priority}] = 0
		}
	}
	for subject, n := range state.Subjects {
		parsed, ok := r.subjects.Parse(subject)
		kind, known := r.kinds.Lookup(parsed.Kind)
		if ok && known {
			b.waiting[lane{pool: kind.Pool, priority: parsed.Priority}] += int64(n)
		}
	}
	if state.Msgs > 0 {
		b.oldest = state.FirstTime
	}
	return b
}
