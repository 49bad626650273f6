package bridge

import (
	"context"
	"crypto/rand"
	"time"

	"github.com/klingbridge/klingbridge/bridge/api"
	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/archiver"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/call"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/create"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/files"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/maintenance"
	"github.com/klingbridge/klingbridge/bridge/poll"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
)

// wiring has what the parts of a replica share while they are built.
type wiring struct {
	*Bridge
	conn    *bus.Bus
	o       Options
	inputs  *request.Attachments
	store   *store.Store
	cache   *store.Cache
	waiting *request.Stream
	holder  *pull.Holder
	namer   request.Namer
	signer  callback.Signer
	self    string // names this replica
}

// wire builds the parts from options that are complete, and makes their consumers. shared are those values of them that all
// replicas share. It is the only place that knows all parts.
func (b *Bridge) wire(ctx context.Context, conn *bus.Bus, o Options, shared map[string]string) (*replica, error) {
	w := &wiring{
		Bridge: b, conn: conn, o: o, self: rand.Text(), namer: request.NewNamer(o.Namespace), holder: pull.NewHolder(),
		cache:   store.NewCache(store.CacheSize),
		signer:  callback.NewSigner(o.PublicURL, o.Subjects.Prefix(), o.Namespace, o.CallbackSecrets),
		inputs:  request.NewAttachments(conn.JetStream(), o.MaxInlineBytes, o.InputBuckets),
		waiting: request.NewStream(conn, o.Subjects, o.Kinds, o.requestDefaults()),
		store: &store.Store{
			Bus: conn, Subjects: o.Subjects, Kinds: o.Kinds, Retention: o.EventRetention, Telemetry: b.telemetry,
			Metrics: b.metrics.store, Dead: store.NewDeadLetters(conn, o.Subjects, b.metrics.store, b.log), Log: b.log,
		},
	}
	p := &replica{
		holder: w.holder, waiting: w.waiting, intake: w.intake(), creator: w.creator(), poller: w.poller(),
		expirer:    &maintenance.Expirer{Stream: w.waiting, Store: w.store, Log: b.log},
		reconciler: w.reconciler(),
		backlog:    &dispatch.BacklogReader{Bus: conn, Subjects: o.Subjects, Kinds: o.Kinds},
	}
	for _, account := range b.accounts.All() {
		p.edges = append(p.edges, &create.EdgeWatch{Client: account.Client, Pauses: b.pauses.Of(account.Name)})
	}
	w.wirePools(p)
	w.inputs.URL = w.fileURL
	p.files = &files.Live{Bus: conn, Verify: w.signer.VerifyFile, Allowed: w.inputs.Allows}
	p.service, p.caller = api.NewService(w.api(p), conn.Conn(), b.public, o.Simulated, b.log), w.caller()
	p.service.Others = p.caller
	p.watch = &watch{
		bus: conn, opts: b.opts, settings: shared, subjects: o.Subjects, log: b.log, replica: w.self,
		consume: p.ensureConsumers, restored: w.waiting.Reset, suspect: p.creator.SuspectBefore,
	}
	p.live = w.live()
	var err error
	if p.archiver, err = w.archiver(); err != nil {
		return nil, err
	}
	return p, p.ensureConsumers(ctx)
}

// wirePools builds the pools and what keeps their slots in step.
func (w *wiring) wirePools(p *replica) {
	p.pools = map[kling.Pool]*dispatch.Pool{}
	for _, name := range w.o.Kinds.Pools() {
		peers := dispatch.NewPeers(w.conn.Conn(), w.o.Subjects.SlotNews(string(name)), w.self)
		p.pools[name] = dispatch.NewPool(name, w.shares(name), peers, w.holder, w.log)
		p.pools[name].ServerTime = w.conn.Now
		p.pools[name].Arrange(w.o.AccountOrder, w.o.Concurrency[name])
		p.lanes = append(p.lanes, p.intake.Lanes(name)...)
	}
	w.pauses.Listen(p.freed)
	p.inFlight = dispatch.NewInFlight(w.conn, w.store, p.pools, w.cache, w.log)
	w.store.Stored = p.inFlight.Stored
}

// shares are what the accounts have of a pool.
func (w *wiring) shares(name kling.Pool) (all []*dispatch.Share) {
	for _, account := range w.accounts.All() {
		all = append(all, &dispatch.Share{
			Account: account.Name, Slots: dispatch.NewSlots(account.Concurrency[name]), Pauses: w.pauses.Of(account.Name),
		})
	}
	return all
}

func (w *wiring) intake() *dispatch.Intake {
	return &dispatch.Intake{
		Bus: w.conn, Subjects: w.o.Subjects, Kinds: w.o.Kinds, Telemetry: w.telemetry, Metrics: w.metrics.dispatch, Log: w.log,
		Defaults: w.o.requestDefaults(), AckWait: w.o.AckWait,
	}
}

func (w *wiring) creator() *create.Creator {
	return &create.Creator{
		Accounts: w.accounts, Store: w.store, Cache: w.cache, CallbackURL: w.signer.URL, Namer: w.namer,
		Inputs: w.inputs, Pauses: w.pauses, Queries: create.NewQueryTrust(), Telemetry: w.telemetry, Metrics: w.metrics.create, Log: w.log,
		LookupWindow: w.o.LookupWindow, FirstPoll: w.o.firstPoll(),
	}
}

func (w *wiring) poller() *poll.Poller {
	return &poll.Poller{
		Bus: w.conn, Accounts: w.accounts, Store: w.store, Cache: w.cache, Holder: w.holder, Queue: poll.NewDueQueue(),
		Subjects: w.o.Subjects, Kinds: w.o.Kinds, Telemetry: w.telemetry, Metrics: w.metrics.poll, Log: w.log,
		MinInterval: w.o.PollMinInterval, MaxInterval: w.o.PollMaxInterval, AckWait: w.o.AckWait,
	}
}

func (w *wiring) reconciler() *maintenance.Reconciler {
	return &maintenance.Reconciler{
		Bus: w.conn, Accounts: w.accounts, Store: w.store, Waiting: w.waiting, Namer: w.namer, Subjects: w.o.Subjects, Kinds: w.o.Kinds, Log: w.log,
		Interval: w.o.ReconcileInterval, Settled: w.o.LookupWindow, Lookback: min(24*time.Hour, w.o.EventRetention/2),
		TaskTimeout: w.o.TaskTimeout,
	}
}

func (w *wiring) caller() *call.Caller {
	return &call.Caller{
		Client: w.accountClient, Inputs: w.inputs, Conn: w.conn.Conn(), Subjects: w.o.Subjects, Telemetry: w.telemetry,
		Metrics: w.metrics.call, Log: w.log,
	}
}

// longestFile is how long a file may be had by URL at most, whatever the request's deadline.
const longestFile = 24 * time.Hour

// fileURL is where Kling gets an object from; empty: nowhere.
func (w *wiring) fileURL(bucket, name string, until time.Time) string {
	if !w.signer.SignsFiles() {
		return ""
	}
	return w.signer.SignFile(bucket, name, clock.Earlier(until, w.conn.Now().Add(longestFile)), files.Path)
}

// accountClient is the client of an account by its name; empty: the first of which nothing is paused, if there is one.
func (w *wiring) accountClient(name string) (*kling.Client, bool) {
	if name == "" {
		name = w.pauses.Best()
	}
	client, err := w.accounts.Client(name)
	return client, err == nil
}

func (w *wiring) api(p *replica) *api.API {
	a := &api.API{
		Bus: w.conn, Store: w.store, Namer: w.namer, Waiting: w.waiting, Subjects: w.o.Subjects, Kinds: w.o.Kinds, Pools: p.pools,
		Lanes: map[kling.Pool][]dispatch.Lane{}, Pauses: w.pauses, Readiness: w.admin.reasons, Health: w.health, Version: w.o.Version, Log: w.log,
	}
	for name := range p.pools {
		a.Lanes[name] = p.intake.Lanes(name)
	}
	return a
}

func (w *wiring) live() *callback.Live {
	live := &callback.Live{
		Store: w.store, Waiting: w.waiting, Signer: w.signer, Kinds: w.o.Kinds, Trust: w.o.CallbackTrust, Cache: w.cache,
		Accounts: w.accounts, Namer: w.namer, TaskTimeout: w.o.TaskTimeout,
	}
	if w.o.Adopt {
		live.Adopter = callback.NewAdopter(w.namer, w.o.TaskTimeout)
	}
	return live
}

// archiver is nil where results are not archived.
func (w *wiring) archiver() (*archiver.Archiver, error) {
	if !w.o.Archive.Enabled() {
		return nil, nil
	}
	files, err := archive.New(w.o.Archive, w.conn.JetStream())
	if err != nil {
		return nil, err
	}
	return &archiver.Archiver{
		Bus: w.conn, Store: w.store, Archive: files, Holder: w.holder, Unfinished: archiver.NewCopies(), Subjects: w.o.Subjects,
		Telemetry: w.telemetry, Metrics: w.metrics.archive, Log: w.log, AckWait: w.o.AckWait, Retention: w.o.EventRetention,
	}, nil
}

func (p *replica) ensureConsumers(ctx context.Context) error {
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
