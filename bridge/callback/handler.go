package callback

import (
	"context"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/listener"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
)

const (
	// CallbackReadTime bounds the reading of a callback and callbackTime the storing of its news: together every answer
	// comes within 5 s.
	CallbackReadTime = 2 * time.Second
	callbackTime     = 2500 * time.Millisecond
	retryAfter       = "5" // seconds
)

// Receiver serves Kling's callbacks and nothing else. Its answers: 2xx only when the news is stored or known to be, 404
// for a URL that proves nothing, 503 when it could not be stored; polling then still finishes the task.
type Receiver struct {
	PathPrefix string // of the public URL, for proxies that pass it on
	Log        *slog.Logger
	Metrics    *Metrics
	Live       atomic.Pointer[Live] // nil until JetStream is there
	Unproven   chan struct{}        // bounds the bodies in memory that anybody can send
}

// MaxUnproven is how many callbacks on the adoption route are read at a time: each may send 256 KiB before it proves
// anything.
const MaxUnproven = 32

// Live is what a receiver needs of the running bridge.
type Live struct {
	Store   *store.Store
	Waiting *request.Stream
	Signer  Signer
	Kinds   kling.Kinds
	// Accounts are those that tasks are on. The callbacks of one that has a secret have to be signed.
	Accounts kling.Accounts
	Trust    Trust
	Adopter  *Adopter // nil: adoption is off

	Namer       request.Namer
	TaskTimeout time.Duration
	Cache       *store.Cache
}

// callback is one authenticated request.
type callback struct {
	kind  kling.Kind
	token string
	began time.Time

	adopted bool // it came on the URL without token and signature
}

// path is that of the URL on which it came, without what proves it.
func (cb callback) path() string {
	path := callbackPrefix + cb.kind.Name
	if !cb.adopted {
		path += "/" + cb.token + "/REDACTED"
	}
	return path
}

// handler receives the callbacks of one route. The routes differ in what proves a callback.
type handler interface {
	// admit is asked before the body is read. done is called when the callback is settled.
	admit(rc *Receiver, h http.Header) (done func(), o outcome)
	// unread is what a callback comes to whose body could not be read, which came to o.
	unread(o outcome) outcome
	// proves reports whether who has sent a whole body is proven by what it came to.
	proves(o outcome) bool
	// receive settles a callback and says what it came to.
	receive(ctx context.Context, h http.Header, body []byte, began time.Time) (outcome, error)
	// attrs name the callback in the log.
	attrs() []slog.Attr
}

// ServeHTTP takes paths apart itself: http.ServeMux would answer unclean ones with a redirect, which Kling does not
// follow.
func (rc *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isHealthProbe(r) {
		Answer(w, r, http.StatusOK)
		return
	}
	began := time.Now()
	o := rc.serve(w, r, began)
	if o == outcomeAnswered {
		return
	}
	rc.Metrics.answered(r.Context(), o, began)
	Answer(w, r, o.status())
}

// serve settles a callback and says what it came to.
func (rc *Receiver) serve(w http.ResponseWriter, r *http.Request, began time.Time) outcome {
	live := rc.Live.Load()
	if live == nil {
		return outcomeUnavailable
	}
	var few [3]string // of a URL that the bridge has made
	parts, ok := callbackPath(few[:0], r, rc.PathPrefix)
	if !ok {
		return outcomeForged
	}
	caller := listener.CallerOf(r.Context())
	if parts[0] == kling.ReservedName {
		return live.selfTest(w, r, parts, caller)
	}
	h, o := live.route(r, parts)
	if o != outcomeTaken {
		return o
	}
	done, o := h.admit(rc, r.Header)
	if o != outcomeTaken {
		return o
	}
	defer done()
	body, o := readCallback(w, r)
	if o != outcomeTaken {
		return h.unread(o)
	}
	if h.proves(outcomeTaken) {
		caller.Prove()
	}
	ctx := last(r.Context(), callbackTime)
	defer ctx.stop()
	o, err := h.receive(ctx, r.Header, body, began)
	rc.note(ctx, h, o, err)
	if h.proves(o) {
		caller.Prove()
	}
	return o
}

// note logs why a callback came to nothing by itself.
func (rc *Receiver) note(ctx context.Context, h handler, o outcome, err error) {
	if err == nil {
		return
	}
	attrs := append(h.attrs(), slog.String("outcome", string(o)), slog.Any("err", err))
	if o == outcomeUnintelligible {
		rc.Log.LogAttrs(ctx, slog.LevelWarn, "callback not understood", attrs...)
		return
	}
	rc.Log.LogAttrs(ctx, slog.LevelWarn, "callback refused", attrs...)
}
