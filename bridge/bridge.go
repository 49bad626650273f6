package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/files"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// Bridge is one replica. Build it with [New] and run it once.
type Bridge struct {
	opts      Options
	log       *slog.Logger
	telemetry *telemetry.Tracer
	metrics   *instruments
	accounts  kling.Accounts
	pauses    dispatch.AccountPauses
	public    *url.URL
	health    *kling.Health
	admin     *admin
	receiver  *callback.Receiver
	files     *files.Server
}

// New checks the options and builds a bridge that does nothing yet. It takes the listeners over.
func New(o Options) (*Bridge, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("bridge options: %w", err)
	}
	public, err := url.Parse(o.PublicURL)
	if err != nil {
		return nil, fmt.Errorf("bridge options: public URL: %w", err)
	}
	m, err := newInstruments(o)
	if err != nil {
		return nil, fmt.Errorf("bridge metrics: %w", err)
	}
	accounts, err := o.accounts()
	if err != nil {
		return nil, fmt.Errorf("bridge options: %w", err)
	}
	health := &kling.Health{}
	accounts = accounts.Observed(m.calls.of(accounts.Plain(), health))
	o.Bus.Retried = m.calls.retried
	p := o.pauses(accounts)
	return &Bridge{
		opts:      o,
		log:       o.Logger,
		telemetry: telemetry.New(o.TracerProvider, o.Propagator),
		metrics:   m,
		accounts:  accounts,
		pauses:    p,
		public:    public,
		health:    health,
		admin:     o.admin(p),
		receiver: &callback.Receiver{
			PathPrefix: strings.TrimRight(public.EscapedPath(), "/"), Log: o.Logger, Metrics: m.callback,
			Unproven: make(chan struct{}, callback.MaxUnproven),
		},
		files: &files.Server{
			Base: strings.TrimRight(public.EscapedPath(), "/"), Places: make(chan struct{}, files.MaxDownloads),
			Metrics: m.files, Log: o.Logger, Refuse: callback.Answer,
		},
	}, nil
}

// admin is what answers on the admin listener.
func (o Options) admin(p dispatch.AccountPauses) *admin {
	loopback := onLoopback(o.AdminListener.Addr())
	return &admin{
		pauses: p, kinds: o.Kinds, metrics: o.Metrics, hosts: newHosts(loopback, o.AdminHosts),
		console: console.New(console.Options{
			Token: o.AdminToken, Loopback: loopback, Simulated: o.Simulated, Logger: o.Logger, TraceURL: o.TraceURL,
			Session: min(console.DefaultSession, o.EventRetention),
		}),
	}
}

// pauses are those of every account.
func (o Options) pauses(accounts kling.Accounts) dispatch.AccountPauses {
	return dispatch.NewAccountPauses(accounts, func(name string) *dispatch.Pauses {
		log := o.Logger
		if !accounts.Plain() {
			log = log.With(slog.String("account", name))
		}
		return dispatch.NewPauses(o.ProbeInterval, log)
	})
}

// onLoopback reports whether an address can be reached from this machine only.
func onLoopback(addr net.Addr) bool {
	tcp, ok := addr.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// Run bridges until ctx ends, then stops taking requests, finishes what is in hand within the shutdown timeout and
// returns nil. It returns an error when it can't start or a listener fails. NATS being away is no error: callbacks are
// answered 503 until it is back. Once Run has returned, nothing of it is running.
func (b *Bridge) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	observed, err := b.showReadiness()
	if err != nil {
		return fmt.Errorf("bridge metrics: %w", err)
	}
	web := b.startWeb(cancel)
	err = b.runOnBus(ctx, web)
	web.stop(b.opts.ShutdownTimeout)
	_ = observed.Unregister() // fails only where a provider knows no callbacks
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// runOnBus runs everything that needs NATS.
func (b *Bridge) runOnBus(ctx context.Context, web *web) error {
	conn, err := bus.Open(ctx, b.opts.Bus)
	if err != nil {
		return err
	}
	defer conn.Close()
	b.admin.bus.Store(conn)
	replica, err := b.assemble(ctx, conn)
	if err != nil {
		return err
	}
	b.receiver.Live.Store(replica.live)
	b.files.Live.Store(replica.files)
	b.log.InfoContext(ctx, "ready", slog.String("nats", conn.URL()), slog.Bool("embedded", b.opts.Bus.Embedded()),
		slog.String("public_url", b.opts.PublicURL))
	return replica.run(ctx, b, web)
}

// assemble provisions JetStream and builds the parts on it.
func (b *Bridge) assemble(ctx context.Context, conn *bus.Bus) (p *replica, err error) {
	err = b.untilAvailable(ctx, func() error {
		p, err = b.tryAssemble(ctx, conn)
		return err
	})
	return p, err
}

// untilAvailable tries again while JetStream is not available.
func (b *Bridge) untilAvailable(ctx context.Context, try func() error) error {
	for {
		err := try()
		if err == nil || !temporary(err) {
			return err
		}
		b.log.WarnContext(ctx, "JetStream is not ready", slog.Any("err", err))
		why := err.Error()
		b.admin.blocked.Store(&why)
		if !clock.Sleep(ctx, time.Second) {
			return context.Cause(ctx)
		}
	}
}

// temporary tells what may pass by itself, such as a cluster without a leader, from what a person has to mend.
func temporary(err error) bool {
	if _, conflict := errors.AsType[*bus.ConflictError](err); conflict {
		return false
	}
	if _, small := errors.AsType[*AccountError](err); small {
		return false
	}
	if refused, ok := errors.AsType[*jetstream.APIError](err); ok {
		return refused.Code == http.StatusServiceUnavailable || refused.Code == http.StatusRequestTimeout ||
			refused.ErrorCode == bus.CodeNoPeers ||
			refused.ErrorCode == bus.CodeNotUnique || // a replica of another version has just made its consumers
			refused.ErrorCode == jetstream.JSErrCodeStreamNotFound // just made: another server of the cluster was asked
	}
	return !errors.Is(err, context.Canceled) && !errors.Is(err, errForeignSetting)
}

func (b *Bridge) tryAssemble(ctx context.Context, conn *bus.Bus) (*replica, error) {
	o, err := provision(ctx, conn, b.opts)
	if err != nil {
		return nil, err
	}
	if err := conn.SyncClock(ctx, o.Subjects.EventsStream()); err != nil {
		return nil, err
	}
	shared := map[string]string{}
	if o.Namespace == "" {
		namespace, err := sharedSetting(ctx, conn, o.Subjects, settingNamespace)
		if err != nil {
			return nil, err
		}
		o.Namespace, shared[settingNamespace] = namespace, namespace
	}
	if len(o.CallbackSecrets) == 0 {
		secret, err := sharedSetting(ctx, conn, o.Subjects, settingCallbackSecret)
		if err != nil {
			return nil, err
		}
		o.CallbackSecrets, shared[settingCallbackSecret] = []string{secret}, secret
	}
	return b.wire(ctx, conn, o, shared)
}
