package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/listener"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

const (
	callbackPrefix = "/callbacks/"
	callbackRoute  = "/callbacks/{kind}/{token}/{signature}"

	// maxCallbackBytes bounds the body of a callback.
	maxCallbackBytes = 256 << 10
	// callbackReadTime bounds the reading of a callback and callbackTime the storing of its news: together every answer
	// comes within 5 s.
	callbackReadTime = 2 * time.Second
	callbackTime     = 2500 * time.Millisecond
	retryAfter       = "5" // seconds
)

// receiver serves Kling's callbacks and nothing else. Its answers: 2xx only when the news is stored or known to be, 404
// for a URL that proves nothing, 503 when it could not be stored; polling then still finishes the task.
type receiver struct {
	pathPrefix string // of the public URL, for proxies that pass it on
	log        *slog.Logger
	metrics    *callbackMetrics
	live       atomic.Pointer[liveReceiver] // nil until JetStream is there
	unproven   chan struct{}                // bounds the bodies in memory that anybody can send
}

// maxUnproven is how many callbacks on the adoption route are read at a time: each may send 256 KiB before it proves
// anything.
const maxUnproven = 32

// liveReceiver is what a receiver needs of the running bridge.
type liveReceiver struct {
	ledger  *store.Store
	signer  signer
	kinds   kling.Kinds
	webhook *kling.Webhook // nil: signatures are not required
	trust   Trust
	adopter *adopter // nil: adoption is off

	namer       request.Namer
	taskTimeout time.Duration
	cache       *store.Cache
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
func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isHealthProbe(r) {
		answer(w, r, http.StatusOK)
		return
	}
	began := time.Now()
	o := rc.serve(w, r, began)
	if o == outcomeAnswered {
		return
	}
	rc.metrics.answered(r.Context(), o, began)
	answer(w, r, o.status())
}

// serve settles a callback and says what it came to.
func (rc *receiver) serve(w http.ResponseWriter, r *http.Request, began time.Time) outcome {
	live := rc.live.Load()
	if live == nil {
		return outcomeUnavailable
	}
	parts, ok := callbackPath(r, rc.pathPrefix)
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
	if token == "" && live.adopter == nil && r.Header.Get(kling.HeaderWebhookSignature) == "" {
		return outcomeForged // not worth reading
	}
	if token == "" {
		select {
		case rc.unproven <- struct{}{}:
			defer func() { <-rc.unproven }()
		default:
			return outcomeUnavailable
		}
	}
	body, o := readCallback(w, r)
	if o != outcomeTaken {
		if token == "" && live.adopter == nil {
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
func (rc *receiver) note(ctx context.Context, kind kling.Kind, token string, o outcome, err error) {
	attrs := []slog.Attr{
		slog.String("kind", kind.Name), slog.String("token", token), slog.String("outcome", string(o)), slog.Any("err", err),
	}
	switch {
	case err == nil:
	case o == outcomeUnintelligible:
		rc.log.LogAttrs(ctx, slog.LevelWarn, "callback not understood", attrs...)
	default:
		rc.log.LogAttrs(ctx, slog.LevelWarn, "callback refused", attrs...)
	}
}

// callbackPath returns the parts of a path below the callback prefix, at least one, and whether it lies there.
func callbackPath(r *http.Request, prefix string) (parts []string, ok bool) {
	path := r.URL.EscapedPath()
	if !strings.HasPrefix(path, callbackPrefix) {
		path = strings.TrimPrefix(path, prefix)
	}
	path, ok = strings.CutPrefix(path, callbackPrefix)
	return strings.Split(path, "/"), ok
}

// route finds what a URL is about. Nothing about a wrong one is said but that it is wrong.
func (lr *liveReceiver) route(r *http.Request, parts []string) (kind kling.Kind, token string, o outcome) {
	kind, known := lr.kinds.Lookup(parts[0])
	switch {
	case !known:
		return kind, "", outcomeForged
	case len(parts) == 1 && (lr.adopter != nil || lr.webhook != nil):
	case len(parts) == 3 && events.IsToken(parts[1]) && lr.signer.verify(parts[0], parts[1], parts[2]):
		token = parts[1]
	default:
		return kind, "", outcomeForged
	}
	switch {
	case r.Method == http.MethodPost:
		return kind, token, outcomeTaken
	case token == "" && lr.adopter == nil:
		return kind, "", outcomeForged
	default:
		return kind, "", outcomeNotPosted
	}
}

// readCallback reads a body within its limits of size and, by the server's read timeout, of time.
func readCallback(w http.ResponseWriter, r *http.Request) ([]byte, outcome) {
	if isCompressed(r) {
		return nil, outcomeCompressed
	}
	var body bytes.Buffer
	body.Grow(int(min(max(r.ContentLength, 0), usualCallback)) + bytes.MinRead)
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxCallbackBytes))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, outcomeTooLarge
	}
	if err != nil {
		return nil, outcomeTooSlow
	}
	return body.Bytes(), outcomeTaken
}

// usualCallback is what a caller's word for the length of a body is taken for, in bytes.
const usualCallback = 8 << 10

// receive settles a callback whose URL is right and says what it came to.
func (lr *liveReceiver) receive(ctx context.Context, h http.Header, cb callback) (outcome, error) {
	signed := false
	if lr.webhook != nil {
		err := lr.webhook.Verify(h, cb.body, time.Now())
		signed = err == nil
		if !signed && cb.token != "" {
			return outcomeUnsigned, err
		}
	}
	if cb.token == "" && lr.adopter == nil {
		if signed { // Kling's console test
			return outcomeIgnored, nil
		}
		return outcomeForged, nil
	}
	if cb.token == "" && lr.webhook != nil && !signed {
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
		return lr.adopter.adopt(ctx, lr, cb, task, signed)
	}
	rec, o, err := lr.find(ctx, cb, task)
	if o != outcomeTaken {
		return o, err
	}
	return lr.apply(ctx, cb, rec, task)
}

// apply publishes what a callback says about a known request, or has it polled.
func (lr *liveReceiver) apply(ctx context.Context, cb callback, rec *store.Record, task kling.Task) (o outcome, err error) {
	ctx, span := lr.span(ctx, rec, cb.began)
	defer func() { endCallback(span, o.status()) }()
	if lr.trust == TrustQuery || incomplete(task) {
		return lr.ask(ctx, rec, task)
	}
	return lr.observe(ctx, cb, rec, task, events.SourceCallback)
}

// incomplete reports whether a callback says too little to be acted on: no status that is known, or a success without
// any result. Kling may have more to say.
func incomplete(task kling.Task) bool {
	return !task.Status.Known() || task.Status == kling.StatusSucceed && !task.HasResult()
}

// ask has the request polled at once, unless it has ended. What Kling answers then counts, also a success without any
// result.
func (lr *liveReceiver) ask(ctx context.Context, rec *store.Record, task kling.Task) (outcome, error) {
	if rec.State == store.StateUnheard {
		lr.askable(rec, task)
	}
	due, err := lr.ledger.DueUnlessEnded(ctx, rec)
	switch {
	case err != nil:
		return outcomeUnavailable, err
	case !due:
		return outcomeRepeated, nil
	case task.Status.Known():
		return outcomePolled, nil
	default:
		return outcomeUnintelligible, fmt.Errorf("status %q, odd fields %q; Kling is asked instead", request.Clip(string(task.Status)), task.Odd)
	}
}

// askable adds to the record of a request that nothing is known of what it takes to ask for its task: what the request's
// own record said is derived again. Its task's ids are taken from the callback, if that is trusted: a request may have
// brought an external id along.
func (lr *liveReceiver) askable(rec *store.Record, task kling.Task) {
	rec.State = store.StateSubmitted
	rec.Deadline = lr.ledger.Now().Add(lr.taskTimeout)
	if lr.trust == TrustURL {
		rec.TaskID, rec.ExternalTaskID = task.ID, task.ExternalID
	}
	if rec.TaskID == "" && rec.ExternalTaskID == "" {
		rec.ExternalTaskID = lr.namer.ExternalID(rec.Token())
	}
}

// publish is apply for what Kling itself has confirmed.
func (lr *liveReceiver) publish(ctx context.Context, cb callback, rec *store.Record, task kling.Task, source events.Source) (o outcome, err error) {
	ctx, span := lr.span(ctx, rec, cb.began)
	defer func() { endCallback(span, o.status()) }()
	return lr.observe(ctx, cb, rec, task, source)
}

func (lr *liveReceiver) observe(ctx context.Context, cb callback, rec *store.Record, task kling.Task, source events.Source) (outcome, error) {
	if task.Status.Terminal() {
		lr.cache.Remove(cb.token)
	}
	if rec.EndedAs != "" && (!task.Status.Terminal() || !store.MayBeLate(rec.EndedAs)) {
		return outcomeRepeated, nil
	}
	n, err := lr.ledger.Observe(ctx, rec, task, source)
	switch {
	case err != nil:
		return outcomeUnavailable, err
	case n == store.EffectProgress || n == store.EffectEnd:
		return outcomeStored, nil
	case n == store.EffectLate:
		return outcomeLate, nil
	default:
		return outcomeRepeated, nil
	}
}

// find returns what is known of a request, and refuses a body that contradicts it. A request that has ended is
// described by its completion.
func (lr *liveReceiver) find(ctx context.Context, cb callback, task kling.Task) (rec *store.Record, o outcome, err error) {
	rec = lr.cache.Get(cb.token)
	if rec == nil {
		rec, err = lr.ledger.Find(ctx, cb.kind.Name, cb.token)
		if err != nil {
			return nil, outcomeUnavailable, err
		}
	}
	if err := contradiction(rec, cb, task); err != nil {
		return nil, outcomeContradicting, err
	}
	if rec.State == store.StateUnheard || rec.ExternalTaskID == "" {
		return lr.unheardOf(ctx, rec, cb, task)
	}
	return rec, outcomeTaken, nil
}

// unheardOf refuses the callback of a task that this deployment did not make: nothing is known of the request, or it has
// ended before it was sent as far as is known, and the task has an external id that was neither derived for it nor brought
// along by it.
func (lr *liveReceiver) unheardOf(ctx context.Context, rec *store.Record, cb callback, task kling.Task) (*store.Record, outcome, error) {
	if task.ExternalID == "" || task.ExternalID == lr.namer.ExternalID(cb.token) {
		return rec, outcomeTaken, nil
	}
	noted, err := lr.ledger.NotedExternalID(ctx, task.ExternalID)
	switch {
	case err != nil:
		return nil, outcomeUnavailable, err
	case !noted && events.Token(task.ExternalID) != cb.token:
		return nil, outcomeContradicting, errors.New("no task is known of the request, and the task's external id is none of its own")
	default:
		return rec, outcomeTaken, nil
	}
}

func contradiction(rec *store.Record, cb callback, task kling.Task) error {
	switch {
	case rec.Kind != cb.kind.Name:
		return errors.New("the URL names another kind than the request")
	case store.Mismatch(rec, task) != nil:
		return store.Mismatch(rec, task)
	case task.ID != "" && rec.TaskID != "" && task.ID != rec.TaskID:
		return errors.New("the body names another task id")
	default:
		return nil
	}
}
