package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// deliverer posts completions.
type deliverer struct {
	forwarding
	p        *program
	filter   events.Filter
	events   *events.Client
	webhook  *kling.Webhook
	endpoint *url.URL
	client   *http.Client

	mu      sync.Mutex     // guards what follows, and what is printed
	refused map[uint64]int // answers that refused an event, by its sequence
	latest  time.Time      // when the latest event was published that was tried
}

const (
	// forwardPending is how many events may wait for another try: they hold up the others beyond that.
	forwardPending = 10_000
	// forwardPause is between tries to read.
	forwardPause = time.Second
	maxRetryWait = 10 * time.Minute
	maxAnswer    = 64 << 10 // of an answer's body, which is read to use the connection again
)

// forwardMark is in the metadata of consumers that are forward's own: no other is changed.
const forwardMark = "klingbridge-forward"

// errGone ends a run: the endpoint wants no more.
var errGone = errors.New("the endpoint answers 410 Gone: it wants no more")

// run delivers until ctx ends or the endpoint is gone.
func (d *deliverer) run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	d.latest = time.Now()
	for {
		err := d.handle(ctx, stop)
		switch {
		case errors.Is(err, errGone):
			return errGone
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, events.ErrNotMine):
			return usagef("--durable %s: there is a consumer of that name which is not one of forward's", d.durable)
		case errors.Is(err, events.ErrNoBridge):
			return fmt.Errorf("%w; start a bridge with \"klingbridge dev\"", events.ErrNoBridge)
		case final(err):
			return err
		}
		if d.durable == "" { // what was stored meanwhile is new, too
			d.mu.Lock()
			d.filter.Since = d.latest
			d.mu.Unlock()
		}
		d.say("%v; trying again", err)
		clock.Sleep(ctx, forwardPause)
	}
}

// final reports whether there is no point in another try to read.
func final(err error) bool {
	api, refused := errors.AsType[*jetstream.APIError](err)
	return refused && api.Code < http.StatusInternalServerError && api.Code != http.StatusNotFound ||
		errors.Is(err, nats.ErrConnectionClosed)
}

// handle delivers what comes until there is no way to go on.
func (d *deliverer) handle(ctx context.Context, stop context.CancelCauseFunc) error {
	ready := d.p.tellLater("waiting for the consumer of completions")
	defer ready()
	how := events.Handling{
		AtATime: d.concurrency, Pending: forwardPending, Mark: forwardMark, Ready: ready,
		Tries: math.MaxInt, // answers count, see deliver
		SetAside: func(_ context.Context, m events.Message, why error) error {
			if m.Event.RequestID == "" {
				d.say("set aside what is no completion, on %s: %v", m.Subject, why)
			}
			return nil
		},
	}
	return d.events.HandleWith(ctx, d.durable, d.filter, how, func(ctx context.Context, m events.Message) error {
		err := d.deliver(ctx, m)
		if errors.Is(err, errGone) {
			stop(errGone)
		}
		return err
	})
}

// deliver tries once.
func (d *deliverer) deliver(ctx context.Context, m events.Message) error {
	began := time.Now()
	ev := m.Event
	d.note(ev.PublishedAt.Time)
	answer, err := d.post(ctx, m)
	switch {
	case err == nil && answer.status/100 == 2:
		d.forget(m.Sequence)
		d.delivered(ev, answer.status, time.Since(began))
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // for the next run
	case err == nil && answer.status == http.StatusGone:
		return errGone
	case err == nil && refuses(answer.status) && d.refusals(m.Sequence) >= d.tries:
		d.forget(m.Sequence)
		d.say("request %s is set aside: its %s was refused %d times, at last with HTTP %d", ev.RequestID, ev.Status, d.tries,
			answer.status)
		return events.SetAside(fmt.Errorf("refused %d times", d.tries))
	}
	wait := retryWait(m.Try, answer)
	outcome := outcomeOf(answer, err)
	d.say("request %s: try %d: %s; again in %s", ev.RequestID, m.Try, outcome, wait.Round(time.Second))
	return events.TryIn(wait, errors.New(outcome))
}

// hookAnswer is what an endpoint said; zero: nothing.
type hookAnswer struct {
	status     int
	retryAfter string
}

// post sends an event once.
func (d *deliverer) post(ctx context.Context, m events.Message) (hookAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.endpoint.String(), bytes.NewReader(m.Raw))
	if err != nil {
		return hookAnswer{}, err
	}
	id := m.Header.Get(jetstream.MsgIDHeader)
	if id == "" {
		id = events.Token(m.Event.RequestID) + ".completion"
	}
	now := time.Now()
	req.Header.Set("Content-Type", events.ContentTypeJSON)
	req.Header.Set("User-Agent", "klingbridge/"+thisBuild().Version)
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(kling.HeaderWebhookSignature, d.webhook.Sign(id, now, m.Raw))
	for _, name := range []string{"traceparent", "tracestate"} {
		if value := m.Header.Get(name); value != "" {
			req.Header.Set(name, value)
		}
	}
	answer, err := d.client.Do(req)
	if err != nil {
		return hookAnswer{}, err
	}
	defer answer.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, maxAnswer)) // what it says does not matter
	return hookAnswer{answer.StatusCode, answer.Header.Get("Retry-After")}, nil
}

// refuses tells answers about this event from those that say that nobody is there, or not now.
func refuses(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return false
	default:
		return true
	}
}

// refusals counts a further refusal of an event.
func (d *deliverer) refusals(seq uint64) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.refused[seq]++
	return d.refused[seq]
}

func (d *deliverer) note(published time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if published.After(d.latest) {
		d.latest = published
	}
}

func (d *deliverer) forget(seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.refused, seq)
}

// retryWait doubles with each try, with some jitter, and is at least what the endpoint asks for.
func retryWait(tries int, answer hookAnswer) time.Duration {
	wait := min(time.Second<<min(tries-1, 16), maxRetryWait)
	wait = wait/2 + rand.N(wait/2+1)
	seconds, err := strconv.Atoi(answer.retryAfter)
	if err != nil || seconds < 0 {
		return wait
	}
	return max(wait, min(time.Duration(seconds)*time.Second, time.Hour))
}

func outcomeOf(answer hookAnswer, err error) string {
	if err == nil {
		return fmt.Sprintf("HTTP %d", answer.status)
	}
	if failed, ok := errors.AsType[*url.Error](err); ok { // which has the whole URL in its text
		err = failed.Err
	}
	return err.Error()
}

func (d *deliverer) delivered(ev events.Event, status int, took time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(d.p.stdout, "%s  %s  %s  %s  HTTP %d in %s\n", ev.PublishedAt, d.p.status(d.p.stdout, ev.Status), ev.Kind,
		printable(ev.RequestID), status, took.Round(time.Millisecond))
}

func (d *deliverer) say(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintln(d.p.stderr, printable(fmt.Sprintf(format, args...)))
}
