package bridge

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/listener"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// Options configures a [Bridge]. Kling and the listeners are required; every other zero value means its default.
type Options struct {
	Bus   bus.Options   // how to reach NATS
	Kling *kling.Client // Kling's API, of who has one account: kling.DefaultAccount
	Kinds kling.Kinds   // zero: kling.DefaultKinds

	// Accounts are those to work with, in order of preference. Empty: the one of Kling and WebhookSecrets.
	Accounts     []kling.Account
	AccountOrder dispatch.Order // how a request finds its account; empty: dispatch.OrderPrefer

	Subjects       subjects.Subjects // zero: those under events.DefaultPrefix
	Namespace      string            // keeps external task ids of deployments apart; empty: generated once, shared by replicas
	StreamReplicas int               // of every stream; zero: 1
	StreamMaxBytes StreamSizes       // of the streams; zero: no bound, unless the account demands one
	EventRetention time.Duration     // how long completions are kept and guarded; zero: 720h

	CallbackListener net.Listener    // serves nothing but callbacks, and files that Kling takes by URL
	Connections      listener.Limits // of CallbackListener
	AdminListener    net.Listener    // health, readiness, metrics and the console
	AdminHosts       []string        // names that AdminListener is asked by, beside those that nobody else can have; without ports
	AdminToken       string          // opens the console; empty: it is open on a loopback AdminListener, else closed
	TraceURL         string          // how the console links to a trace, with {trace_id} in it; empty: it does not
	CallbackTLS      *tls.Config     // nil: plain HTTP
	PublicURL        string          // how Kling reaches CallbackListener; empty: poll only
	CallbackSecrets  []string        // the first signs, all verify; empty: one is generated once, shared by replicas
	WebhookSecrets   []string        // whsec_…, of who has one account; when set, the Standard Webhooks signature is required
	CallbackTrust    callback.Trust  // empty: TrustURL
	Adopt            bool            // take in callbacks of tasks created elsewhere

	TaskTimeout     time.Duration // default deadline of a request from when it was stored; zero: 24h
	Retries         int           // default of how often a task that Kling failed is made again, 0 to events.MaxRetries
	LookupWindow    time.Duration // how long a task of unknown fate is looked up before it is sent again; zero: 2m
	ProbeInterval   time.Duration // between probes while credentials or account fail; zero: 30s
	PollAfter       time.Duration // from submission to the first poll; zero: 300s
	PollMinInterval time.Duration // second poll interval, doubling from here; zero: 10s
	PollMaxInterval time.Duration // to here; zero: 5m
	// ReconcileInterval is the time between searches for tasks and timers that JetStream has lost; zero: 10m.
	ReconcileInterval time.Duration
	Concurrency       map[kling.Pool]int // upper bound on tasks in flight per pool over all replicas and accounts; absent: Kling's own limit
	MaxInlineBytes    int64              // of the nats-object:// inputs of one request together; zero: 50 MiB
	InputBuckets      []string           // that nats-object:// inputs may be in, * for any characters; empty: all
	ShutdownTimeout   time.Duration      // to finish what is in hand; zero: 20s
	AckWait           time.Duration      // silence after which another replica takes a request over; zero: 20s

	Archive archive.Options // where the files of results are copied to; zero: they are not

	Version   string // of the program, told to those who ask; empty: devel
	Simulated bool   // Kling is: the console and doctor say so

	Logger         *slog.Logger         // nil: slog.Default
	TracerProvider trace.TracerProvider // nil: the global one
	// Propagator reads the trace context of requests' headers and writes that of events. Nil: W3C trace context and baggage.
	Propagator    propagation.TextMapPropagator
	MeterProvider metric.MeterProvider // nil: the global one
	Metrics       http.Handler         // serves /metrics on AdminListener; nil: 404
}

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
	orDefault(&o.AccountOrder, dispatch.OrderPrefer)
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
	if _, err := o.accounts(); err != nil {
		errs = append(errs, err)
	}
	if o.AccountOrder != dispatch.OrderPrefer && o.AccountOrder != dispatch.OrderSpread {
		errs = append(errs, fmt.Errorf("account order %q: want %s or %s", o.AccountOrder, dispatch.OrderPrefer, dispatch.OrderSpread))
	}
	if o.Retries < 0 || o.Retries > events.MaxRetries {
		errs = append(errs, fmt.Errorf("retries %d: want 0 to %d", o.Retries, events.MaxRetries))
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
	return errors.Join(errs...)
}

// accounts are those to work with. The bound on all of them is the only one's own.
func (o Options) accounts() (kling.Accounts, error) {
	all := slices.Clone(o.Accounts)
	if len(all) == 0 {
		if o.Kling == nil {
			return kling.Accounts{}, errors.New("no Kling client")
		}
		only := kling.Account{Name: kling.DefaultAccount, Client: o.Kling}
		if len(o.WebhookSecrets) > 0 {
			webhook, err := kling.NewWebhook(o.WebhookSecrets)
			if err != nil {
				return kling.Accounts{}, err
			}
			only.Webhook = webhook
		}
		all = append(all, only)
	}
	return kling.NewAccounts(all...)
}

// requestDefaults are for requests that say nothing themselves.
func (o Options) requestDefaults() request.Defaults {
	return request.Defaults{Timeout: o.TaskTimeout, Retries: o.Retries}
}

// firstPoll is the wait from submission to the first poll: without callbacks there is nothing to wait for.
func (o Options) firstPoll() time.Duration {
	if o.PublicURL == "" {
		return o.PollMinInterval
	}
	return o.PollAfter
}
