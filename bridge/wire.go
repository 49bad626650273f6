package bridge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/klingbridge/klingbridge/bridge/api"
	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/archiver"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/create"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/maintenance"
	"github.com/klingbridge/klingbridge/bridge/poll"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

func (o Options) withDefaults() Options {
	if len(o.Kinds.All()) == 0 {
		o.Kinds = kling.DefaultKinds()
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.TracerProvider == nil {
		o.TracerProvider = otel.GetTracerProvider()
	}
	if o.MeterProvider == nil {
		o.MeterProvider = otel.GetMeterProvider()
	}
	if o.CallbackTrust == "" {
		o.CallbackTrust = callback.TrustURL
	}
	orDefault(&o.Version, "devel")
	orDefault(&o.StreamReplicas, 1)
	orDefault(&o.EventRetention, 720*time.Hour)
	orDefault(&o.TaskTimeout, 24*time.Hour)
	orDefault(&o.LookupWindow, 2*time.Minute)
	orDefault(&o.ProbeInterval, 30*time.Second)
	orDefault(&o.PollAfter, 300*time.Second)
	orDefault(&o.PollMinInterval, 10*time.Second)
	orDefault(&o.PollMaxInterval, max(5*time.Minute, o.PollMinInterval))
	orDefault(&o.ReconcileInterval, 10*time.Minute)
	orDefault(&o.MaxInlineBytes, 50<<20)
	orDefault(&o.ShutdownTimeout, 20*time.Second)
	orDefault(&o.AckWait, 20*time.Second)
	o.Archive.Replicas, o.Archive.BucketBytes = o.StreamReplicas, o.StreamMaxBytes.Archive
	o.Bus.Logger = o.Logger
	return o
}

func orDefault[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// check reports every fault at once.
func (o Options) check() error {
	var errs []error
	if o.Kling == nil {
		errs = append(errs, errors.New("no Kling client"))
	}
	if o.CallbackListener == nil {
		errs = append(errs, errors.New("no callback listener"))
	}
	if o.AdminListener == nil {
		errs = append(errs, errors.New("no admin listener"))
	}
	if o.PollMaxInterval < o.PollMinInterval {
		errs = append(errs, fmt.Errorf("longest poll interval %s is below the shortest, %s", o.PollMaxInterval, o.PollMinInterval))
	}
	if o.CallbackTrust != callback.TrustURL && o.CallbackTrust != callback.TrustQuery {
		errs = append(errs, fmt.Errorf("callback trust %q: want %s or %s", o.CallbackTrust, callback.TrustURL, callback.TrustQuery))
	}
	if len(o.WebhookSecrets) > 0 {
		if _, err := kling.NewWebhook(o.WebhookSecrets); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// firstPoll is the wait from submission to the first poll: without callbacks there is nothing to wait for.
func (o Options) firstPoll() time.Duration {
	if o.PublicURL == "" {
		return o.PollMinInterval
	}
	return o.PollAfter
}

// newParts builds the parts from options that are complete. shared are those values of them that all replicas share.
func (b *Bridge) newParts(ctx context.Context, conn *bus.Bus, o Options, shared map[string]string) (*parts, error) {
	ledger := &store.Store{
		Bus: conn, Subjects: o.Subjects, Kinds: o.Kinds, Retention: o.EventRetention, Telemetry: b.telemetry,
		Metrics: b.metrics.store, Dead: store.NewDeadLetters(conn, o.Subjects, b.metrics.store, b.log), Log: b.log,
	}
	waiting := request.NewStream(conn, o.Subjects, o.Kinds, o.TaskTimeout)
	cache := store.NewCache(store.CacheSize)
	hands := pull.NewHolder()
	signer := callback.NewSigner(o.PublicURL, o.Subjects.Prefix(), o.Namespace, o.CallbackSecrets)
	p := &parts{
		hands: hands,
		pools: map[kling.Pool]*dispatch.Pool{},
		creator: &create.Creator{
			Client: o.Kling, Store: ledger, Cache: cache, CallbackURL: signer.URL, Namer: request.NewNamer(o.Namespace),
			Inputs: request.NewAttachments(conn.JetStream(), o.MaxInlineBytes, o.InputBuckets),
			Pauses: b.pauses, Queries: create.NewQueryTrust(), Telemetry: b.telemetry, Metrics: b.metrics.create, Log: b.log,
			LookupWindow: o.LookupWindow, FirstPoll: o.firstPoll(),
		},
		intake: &dispatch.Intake{
			Bus: conn, Subjects: o.Subjects, Kinds: o.Kinds, Telemetry: b.telemetry, Metrics: b.metrics.dispatch, Log: b.log,
			TaskTimeout: o.TaskTimeout, AckWait: o.AckWait,
		},
		poller: &poll.Poller{
			Bus: conn, Client: o.Kling, Store: ledger, Cache: cache, Hands: hands, Queue: poll.NewDueQueue(),
			Subjects: o.Subjects, Kinds: o.Kinds, Telemetry: b.telemetry, Metrics: b.metrics.poll, Log: b.log,
			MinInterval: o.PollMinInterval, MaxInterval: o.PollMaxInterval, AckWait: o.AckWait,
		},
		waiting: waiting,
		expirer: &maintenance.Expirer{Stream: waiting, Store: ledger, Log: b.log},
	}
	p.backlog = &dispatch.BacklogReader{Bus: conn, Subjects: o.Subjects, Kinds: o.Kinds}
	p.reconciler = &maintenance.Reconciler{
		Bus: conn, Client: o.Kling, Store: ledger, Namer: p.creator.Namer, Subjects: o.Subjects, Kinds: o.Kinds, Log: b.log,
		Interval: o.ReconcileInterval, Settled: o.LookupWindow, Lookback: min(24*time.Hour, o.EventRetention/2),
		TaskTimeout: o.TaskTimeout,
	}
	replica := rand.Text()
	p.watch = &watch{
		bus: conn, opts: b.opts, settings: shared, subjects: o.Subjects, log: b.log, replica: replica,
		consume: p.ensureConsumers, restored: p.waiting.Reset, suspect: p.creator.SuspectBefore,
	}
	for _, name := range o.Kinds.Pools() {
		turns := dispatch.NewPeers(conn.Conn(), o.Subjects.SlotNews(string(name)), replica)
		p.pools[name] = dispatch.NewPool(name, dispatch.NewSlots(o.Concurrency[name]), turns, b.pauses, p.hands, b.log)
		p.pools[name].ServerTime = conn.Now
		p.lanes = append(p.lanes, p.intake.Lanes(name)...)
	}
	b.pauses.Listen(p.freed)
	p.edge = &create.EdgeWatch{Client: o.Kling, Pauses: b.pauses}
	p.inFlight = &dispatch.InFlight{
		Bus: conn, Store: ledger, Subjects: o.Subjects, Kinds: o.Kinds, Pools: p.pools, Log: b.log,
	}
	p.service = api.NewService(b.newAsker(p, conn, o), conn.Conn(), b.public, o.Simulated, b.log)
	live, err := newLiveReceiver(ledger, waiting, signer, cache, o)
	if err != nil {
		return nil, err
	}
	p.live = live
	if o.Archive.Enabled() {
		files, err := archive.New(o.Archive, conn.JetStream())
		if err != nil {
			return nil, err
		}
		p.archiver = &archiver.Archiver{
			Bus: conn, Store: ledger, Archive: files, Hands: hands, Unfinished: archiver.NewCopies(), Subjects: o.Subjects,
			Telemetry: b.telemetry, Metrics: b.metrics.archive, Log: b.log, AckWait: o.AckWait, Retention: o.EventRetention,
		}
	}
	return p, p.ensureConsumers(ctx)
}

// instruments are those of each step.
type instruments struct {
	calls     *callMetrics
	readiness *readinessMetrics
	store     *store.Metrics
	dispatch  *dispatch.Metrics
	create    *create.Metrics
	callback  *callback.Metrics
	poll      *poll.Metrics
	archive   *archiver.Metrics
}

// newInstruments makes all instruments, so that what is collected is complete before NATS is reached.
func newInstruments(o Options) (*instruments, error) {
	m := telemetry.NewMeter(o.MeterProvider)
	return &instruments{
		calls:     newCallMetrics(m),
		readiness: newReadinessMetrics(m),
		store:     store.NewMetrics(m, o.Kinds),
		dispatch:  dispatch.NewMetrics(m),
		create:    create.NewMetrics(m),
		callback:  callback.NewMetrics(m),
		poll:      poll.NewMetrics(m),
		archive:   archiver.NewMetrics(m),
	}, m.Err()
}

func (b *Bridge) newAsker(p *parts, conn *bus.Bus, o Options) *api.API {
	a := &api.API{
		Bus: conn, Store: p.creator.Store, Namer: p.creator.Namer, Waiting: p.waiting, Subjects: o.Subjects, Kinds: o.Kinds, Pools: p.pools,
		Lanes: map[kling.Pool][]dispatch.Lane{}, Pauses: b.pauses, Readiness: b.admin.reasons, Version: o.Version, Log: b.log,
	}
	for name := range p.pools {
		a.Lanes[name] = p.intake.Lanes(name)
	}
	return a
}

func newLiveReceiver(
	l *store.Store, waiting *request.Stream, s callback.Signer, cache *store.Cache, o Options,
) (*callback.Live, error) {
	lr := &callback.Live{
		Store: l, Waiting: waiting, Signer: s, Kinds: o.Kinds, Trust: o.CallbackTrust, Cache: cache,
		Namer: request.NewNamer(o.Namespace), TaskTimeout: o.TaskTimeout,
	}
	if o.Adopt {
		lr.Adopter = callback.NewAdopter(o.Kling, request.NewNamer(o.Namespace), o.TaskTimeout)
	}
	if len(o.WebhookSecrets) == 0 {
		return lr, nil
	}
	webhook, err := kling.NewWebhook(o.WebhookSecrets)
	lr.Webhook = webhook
	return lr, err
}

func (p *parts) ensureConsumers(ctx context.Context) error {
	if err := p.intake.Consumers(ctx); err != nil {
		return err
	}
	if p.archiver != nil {
		if _, err := p.archiver.Consumer(ctx); err != nil {
			return err
		}
	}
	_, err := p.poller.Consumer(ctx)
	return err
}
