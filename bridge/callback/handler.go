package callback

import (
	"context"
	"errors"
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
	Webhook *kling.Webhook // nil: signatures are not required
	Trust   Trust
	Adopter *adopter // nil: adoption is off

	Namer       request.Namer
	TaskTimeout time.Duration
	Cache       *store.Cache
}

// callback is one authenticated request.
type callback struct {
	kind  kling.Kind
	token string // empty on the adoption route
	body  []byte
	began time.Time
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
	parts, ok := callbackPath(r, rc.PathPrefix)
	if !ok {
		return outcomeForged
	}
	caller := listener.CallerOf(r.Context())
	if parts[0] == kling.ReservedName {
		return live.selfTest(w, r, parts, caller)
	}
	kind, token, o := live.route(r, parts)
	if o != outcomeTaken {
		return o
	}
	if token == "" && live.Adopter == nil && r.Header.Get(kling.HeaderWebhookSignature) == "" {
		return outcomeForged // not worth reading
	}
	if token == "" {
		select {
		case rc.Unproven <- struct{}{}:
			defer func() { <-rc.Unproven }()
		default:
			return outcomeUnavailable
		}
	}
	body, o := readCallback(w, r)
	if o != outcomeTaken {
		if token == "" && live.Adopter == nil {
			return outcomeForged
		}
		return o
	}
	if token != "" {
		caller.Prove()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), callbackTime)
	defer cancel()
	o, err := live.receive(ctx, r.Header, callback{kind: kind, token: token, body: body, began: began})
	rc.note(ctx, kind, token, o, err)
	if token == "" && o.proves() {
		caller.Prove()
	}
	return o
}

// note logs why a callback came to nothing by itself.
func (rc *Receiver) note(ctx context.Context, kind kling.Kind, token string, o outcome, err error) {
	attrs := []slog.Attr{
		slog.String("kind", kind.Name), slog.String("token", token), slog.String("outcome", string(o)), slog.Any("err", err),
	}
	switch {
	case err == nil:
	case o == outcomeUnintelligible:
		rc.Log.LogAttrs(ctx, slog.LevelWarn, "callback not understood", attrs...)
	default:
		rc.Log.LogAttrs(ctx, slog.LevelWarn, "callback refused", attrs...)
	}
}

// receive settles a callback whose URL is right and says what it came to.
func (lr *Live) receive(ctx context.Context, h http.Header, cb callback) (outcome, error) {
	signed := false
	if lr.Webhook != nil {
		err := lr.Webhook.Verify(h, cb.body, time.Now())
		signed = err == nil
		if !signed && cb.token != "" {
			return outcomeUnsigned, err
		}
	}
	if cb.token == "" && lr.Adopter == nil {
		if signed { // Kling's console test
			return outcomeIgnored, nil
		}
		return outcomeForged, nil
	}
	if cb.token == "" && lr.Webhook != nil && !signed {
		return outcomeUnsigned, errors.New("no valid signature")
	}
	task, err := kling.DecodeCallback(cb.body)
	if errors.Is(err, kling.ErrAmbiguous) {
		return outcomeContradicting, err
	}
	if err != nil {
		return outcomeMalformed, err
	}
	if cb.token == "" {
		return lr.Adopter.adopt(ctx, lr, cb, task, signed)
	}
	rec, o, err := lr.find(ctx, cb, task)
	if o != outcomeTaken {
		return o, err
	}
	return lr.apply(ctx, cb, rec, task)
}
