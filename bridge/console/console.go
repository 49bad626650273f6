package console

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// Source answers what is known of requests, and acts on them. An error that is the caller's fault has a method
// HTTPStatus() int.
type Source interface {
	Status(ctx context.Context) (events.BridgeStatus, error)
	Get(ctx context.Context, requestID string) (events.TaskAnswer, error)
	List(ctx context.Context, q events.TaskQuery) (events.TaskList, error)
	Cancel(ctx context.Context, requestID string) (events.Cancelled, error)
	// Body returns what a request asked for, whole and as it came; nil: it is not known.
	Body(ctx context.Context, requestID string) ([]byte, error)
	Again(ctx context.Context, q events.AgainQuery) (events.Replayed, error)
	DeadList(ctx context.Context, q events.PageQuery) (events.DeadList, error)
	Replay(ctx context.Context, requestID string) (events.Replayed, error)
	// Dismiss deletes a dead letter.
	Dismiss(ctx context.Context, requestID string) error
	// Submit publishes a request and returns its id.
	Submit(ctx context.Context, kind string, body json.RawMessage, o events.Options) (requestID string, err error)
	Kinds() []Kind
	Pauses() []Pause
	// TokenOf returns the request's token that an external task id was derived from, if it can be read from it.
	TokenOf(externalTaskID string) (token string, ok bool)
}

// Kind is what to begin with in a request of a kind.
type Kind struct {
	Name         string   `json:"kind"`
	Pool         string   `json:"pool"`
	Required     []string `json:"required"`      // fields, in words; empty: not known
	UsualSeconds int      `json:"usual_seconds"` // that a task takes; 0: not known
	Body         string   `json:"body"`          // a sample, in JSON; empty: there is none
}

// Pause is something that is not sent.
type Pause struct {
	Account   string      `json:"account"` // empty: there is no other to tell it from
	What      string      `json:"what"`    // is paused, in words
	Reason    string      `json:"reason"`
	NextProbe events.Time `json:"next_probe"` // from when on the next request is tried
}

// DefaultSession is how long a login lasts.
const DefaultSession = 12 * time.Hour

// Options configures a [Console].
type Options struct {
	// Token is asked of everybody. Empty: nobody is asked, and the console is closed unless Loopback is set.
	Token string
	// Loopback tells that the listener can be reached from this machine only.
	Loopback bool
	// TraceURL leads to a trace, with {trace_id} in it; empty: traces are not linked to.
	TraceURL string
	// Simulated marks everything shown as not Kling's.
	Simulated bool
	// Session is how long a login lasts; zero: [DefaultSession]. A logout is known for as long as the events stream keeps
	// what it has, which must be longer.
	Session time.Duration
	// Idle is how long what was read is kept after nobody looks any more; zero: 5m.
	Idle time.Duration
	// Logger: nil: slog.Default.
	Logger *slog.Logger
}

// Console serves the page and its API. It answers 503 to questions until it is run.
type Console struct {
	opts    Options
	gate    *gate
	logins  *logins
	handler http.Handler
	live    atomic.Pointer[session] // nil while not running
}

// New builds a console.
func New(o Options) *Console {
	if o.Idle == 0 {
		o.Idle = 5 * time.Minute
	}
	if o.Session == 0 {
		o.Session = DefaultSession
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if n := len(o.Token); n > 0 && n < LongToken {
		o.Logger.Warn("BRIDGE_ADMIN_TOKEN is short enough to be guessed", slog.Int("bytes", n), slog.Int("want", LongToken))
	}
	c := &Console{opts: o, gate: newGate(o), logins: newLogins()}
	c.handler = c.routes()
	return c
}

// ServeHTTP implements [http.Handler].
func (c *Console) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// refreshInterval is how often open pages are told what has changed.
const refreshInterval = 500 * time.Millisecond

// Run answers from source and reads events from b until ctx ends. When it returns nothing of it is running, and b may be
// closed.
func (c *Console) Run(ctx context.Context, source Source, b *bus.Bus, subjects subjects.Subjects) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := newSession(ctx, source, b, subjects, c.opts)
	c.live.Store(s)
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.feed.opened: // the first of a page's news should not wait
		case <-tick.C:
		}
		s.refresh(ctx, time.Now())
	}
	c.live.Store(nil)
	cancel()
	s.close()
}
