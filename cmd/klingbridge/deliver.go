package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/clock"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// deliverer takes completions off a consumer and posts them.
type deliverer struct {
	forwarding
	p        *program
	js       jetstream.JetStream
	subjects events.Subjects
	since    time.Time
	webhook  *kling.Webhook
	endpoint *url.URL
	client   *http.Client

	mu      sync.Mutex     // guards what follows, and what is printed
	refused map[uint64]int // answers that refused an event, by its sequence
}

const (
	// forwardPending is how many events may wait for another try: they hold up the others beyond that.
	forwardPending = 10_000
	// forwardIdle is after how long the server forgets a consumer without a name that nobody reads.
	forwardIdle = time.Minute
	// forwardPause is between tries to read.
	forwardPause = time.Second
	forwardCalls = 5 * time.Second // to JetStream
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
	var deliveries sync.WaitGroup
	defer deliveries.Wait()
	places := make(chan struct{}, d.concurrency)
	for {
		consumer, err := d.consumer(ctx)
		if err == nil {
			err = d.read(ctx, consumer, func(msg jetstream.Msg) {
				places <- struct{}{}
				deliveries.Go(func() {
					defer func() { <-places }()
					if err := d.deliver(ctx, msg); err != nil {
						stop(err)
					}
				})
			})
		}
		switch {
		case errors.Is(context.Cause(ctx), errGone):
			return errGone
		case ctx.Err() != nil:
			return nil
		case final(err):
			return err
		}
		d.say("%v; trying again", err)
		clock.Sleep(ctx, forwardPause)
	}
}

// final reports whether there is no point in another try to read.
func final(err error) bool {
	_, usage := errors.AsType[usageError](err)
	api, refused := errors.AsType[*jetstream.APIError](err)
	return usage || refused && api.Code < http.StatusInternalServerError || errors.Is(err, events.ErrNoBridge) ||
		errors.Is(err, nats.ErrConnectionClosed)
}

// read hands on messages until ctx ends or the consumer can't be read.
func (d *deliverer) read(ctx context.Context, c jetstream.Consumer, take func(jetstream.Msg)) error {
	messages, err := c.Messages(jetstream.PullMaxMessages(d.concurrency))
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read completions: %w", err)
		}
		take(msg)
	}
}

// consumer finds the durable consumer, or makes one.
func (d *deliverer) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, forwardCalls)
	defer cancel()
	stream := d.subjects.EventsStream()
	want := jetstream.ConsumerConfig{Name: d.durable, Durable: d.durable, DeliverPolicy: jetstream.DeliverNewPolicy}
	if !d.since.IsZero() {
		want.DeliverPolicy, want.OptStartTime = jetstream.DeliverByStartTimePolicy, &d.since
	}
	if d.durable == "" {
		want.InactiveThreshold = forwardIdle
	} else {
		known, err := d.js.Consumer(ctx, stream, d.durable)
		switch {
		case err == nil && known.CachedInfo().Config.Metadata[forwardMark] == "":
			return nil, usagef("--durable %s: there is a consumer of that name which is not one of forward's", d.durable)
		case err == nil:
			want = known.CachedInfo().Config // where it began can't be changed
		case !errors.Is(err, jetstream.ErrConsumerNotFound):
			return nil, fmt.Errorf("consumer %s: %w", d.durable, explainedStream(err))
		}
	}
	want.Description = "klingbridge forward"
	want.Metadata = map[string]string{forwardMark: "1"}
	want.FilterSubject = d.filter()
	want.AckPolicy = jetstream.AckExplicitPolicy
	want.AckWait = 3*d.timeout + forwardCalls // two others may be before it
	want.MaxAckPending = forwardPending
	consumer, err := d.js.CreateOrUpdateConsumer(ctx, stream, want)
	if err != nil {
		return nil, fmt.Errorf("consumer %s: %w", d.durable, explainedStream(err))
	}
	return consumer, nil
}

func explainedStream(err error) error {
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return fmt.Errorf("%w; start a bridge with \"klingbridge dev\"", events.ErrNoBridge)
	}
	return err
}

func (d *deliverer) filter() string {
	subject := d.subjects.CompletionOf("*")
	if d.id != "" {
		subject = d.subjects.CompletionOf(events.Token(d.id))
	}
	t := strings.Split(subject, ".") // ….completion.<kind>.<status>.<token>
	if d.kind != "" {
		t[len(t)-3] = d.kind
	}
	if d.status != "" {
		t[len(t)-2] = d.status
	}
	return strings.Join(t, ".")
}

// deliver tries once and settles the message. Its error ends the run.
func (d *deliverer) deliver(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	var ev events.Event
	if err == nil {
		err = json.Unmarshal(msg.Data(), &ev)
	}
	if err != nil {
		d.say("set aside what is no completion, on %s: %v", msg.Subject(), err)
		return d.settle(msg.Term())
	}
	began := time.Now()
	answer, err := d.post(ctx, msg, ev)
	switch {
	case err == nil && answer.status/100 == 2:
		d.forget(meta.Sequence.Stream)
		d.delivered(ev, answer.status, time.Since(began))
		return d.acknowledge(ctx, msg)
	case ctx.Err() != nil:
		return d.settle(msg.Nak()) // for the next run
	case err == nil && answer.status == http.StatusGone:
		return errors.Join(errGone, d.settle(msg.Nak()))
	case err == nil && refuses(answer.status) && d.refusals(meta.Sequence.Stream) >= d.tries:
		d.forget(meta.Sequence.Stream)
		d.say("request %s is set aside: its %s was refused %d times, at last with HTTP %d", ev.RequestID, ev.Status, d.tries,
			answer.status)
		return d.settle(msg.TermWithReason(fmt.Sprintf("refused %d times", d.tries)))
	}
	wait := retryWait(meta.NumDelivered, answer)
	d.say("request %s: try %d: %s; again in %s", ev.RequestID, meta.NumDelivered, outcomeOf(answer, err), wait.Round(time.Second))
	return d.settle(msg.NakWithDelay(wait))
}

// acknowledge makes sure that the server knows: an ack that got lost would have the event delivered twice.
func (d *deliverer) acknowledge(ctx context.Context, msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), forwardCalls)
	defer cancel()
	return d.settle(msg.DoubleAck(ctx))
}

// settle tells of what the server did not get to hear: the event comes again.
func (d *deliverer) settle(err error) error {
	if err != nil {
		d.say("%v: the event will come again", err)
	}
	return nil
}

// hookAnswer is what an endpoint said; zero: nothing.
type hookAnswer struct {
	status     int
	retryAfter string
}

// post sends an event once.
func (d *deliverer) post(ctx context.Context, msg jetstream.Msg, ev events.Event) (hookAnswer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.endpoint.String(), bytes.NewReader(msg.Data()))
	if err != nil {
		return hookAnswer{}, err
	}
	id := msg.Headers().Get(jetstream.MsgIDHeader)
	if id == "" {
		id = events.Token(ev.RequestID) + ".completion"
	}
	now := time.Now()
	req.Header.Set("Content-Type", events.ContentTypeJSON)
	req.Header.Set("User-Agent", "klingbridge/"+thisBuild().Version)
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set(kling.HeaderWebhookSignature, d.webhook.Sign(id, now, msg.Data()))
	for _, name := range []string{"traceparent", "tracestate"} {
		if value := msg.Headers().Get(name); value != "" {
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

func (d *deliverer) forget(seq uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.refused, seq)
}

// retryWait doubles with each try, with some jitter, and is at least what the endpoint asks for.
func retryWait(tries uint64, answer hookAnswer) time.Duration {
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
