package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
)

// ErrNoBridge says that no stream takes what was sent or holds what was asked for: no bridge has run on this NATS
// system under this prefix.
var ErrNoBridge = errors.New("no bridge: there is no stream for it")

// ErrUnknownKind says that a bridge's stream of requests is there, but takes none of this kind.
var ErrUnknownKind = errors.New("no bridge knows this kind")

// ErrFull says that the stream of requests holds as much as it may, and was not given the request. Some of what waits has
// to become tasks first.
var ErrFull = errors.New("the stream of requests is full")

// Client submits requests and reads their events. It is a convenience: a bare NATS client can do the same. Its methods
// may be called concurrently.
type Client struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects Subjects
	trace    propagation.TextMapPropagator
}

// NewClient returns a client on a connection, which stays the caller's to close. Give it [nats.MaxReconnects] of -1,
// and whatever is under way survives any outage.
func NewClient(nc *nats.Conn, s Subjects) (*Client, error) {
	if nc == nil {
		return nil, errors.New("events client: want a NATS connection")
	}
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, fmt.Errorf("events client: %w", err)
	}
	return NewClientFor(js, s)
}

// NewClientFor is [NewClient] for a JetStream other than that of the connection's own server: one of another domain, or
// under another API prefix.
func NewClientFor(js jetstream.JetStream, s Subjects) (*Client, error) {
	if js == nil {
		return nil, errors.New("events client: want JetStream")
	}
	trace := propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
	return &Client{nc: js.Conn(), js: js, subjects: s, trace: trace}, nil
}

// Submit stores a request and returns its id: that of the options, or a new one. It tries until it has an answer or ctx ends. The trace context in ctx
// travels with the request: that of a span of OpenTelemetry's global provider, below the one in ctx.
//
// The error is [ErrNoBridge] where nobody takes requests, [ErrUnknownKind] where none of this kind, and [ErrFull] where too
// many wait. The id is
// returned with an error too, unless the request was not valid: when ctx ended the request may have been stored, and to
// submit it again with that id is safe.
func (c *Client) Submit(ctx context.Context, b Body, o Options) (id string, err error) {
	msg, err := NewRequest(c.subjects, b, o)
	if err != nil {
		return "", err
	}
	id = msg.Header.Get(HeaderRequestID)
	ctx, span := c.sendSpan(ctx, b.Kind(), msg)
	defer span.End()
	c.trace.Inject(ctx, HeaderCarrier(msg.Header))
	if err := c.publish(ctx, msg); err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, "")
		return id, fmt.Errorf("submit request %q: %w", id, err)
	}
	return id, nil
}

// publish repeats msg until the stream has answered. Its message id makes that safe.
func (c *Client) publish(ctx context.Context, msg *nats.Msg) error {
	for {
		err := c.tryPublish(ctx, msg)
		if err == nil || !transient(err) {
			return err
		}
		if errors.Is(err, ErrNoBridge) && !c.hasStream(ctx, msg.Subject) {
			return fmt.Errorf("subject %s: %w", msg.Subject, c.whyNoStream(ctx))
		}
		if wait(ctx, retryWait) != nil {
			return ended(ctx, err)
		}
	}
}

func (c *Client) tryPublish(ctx context.Context, msg *nats.Msg) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := c.js.PublishMsg(ctx, msg, jetstream.WithRetryAttempts(0))
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return fmt.Errorf("%w: %w", ErrNoBridge, err)
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && full(api) {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}

// transient reports whether the same publish may succeed a moment later. After most of these errors nobody knows
// whether the message was stored.
func transient(err error) bool {
	for _, target := range []error{
		ErrNoBridge, context.DeadlineExceeded, nats.ErrTimeout,
		nats.ErrConnectionReconnecting, nats.ErrReconnectBufExceeded, nats.ErrDisconnected,
	} {
		if errors.Is(err, target) {
			return true
		}
	}
	api, ok := errors.AsType[*jetstream.APIError](err)
	return ok && (api.Code == 503 && !full(api) || tooMany(api))
}

// tooMany reports whether the server has more in hand for a stream than it keeps: "too many requests", error code 10167.
func tooMany(err *jetstream.APIError) bool { return err.Code == 429 }

// codeNotStored is the server's error code for a message that a stream could not store, for any reason.
const codeNotStored = 10077

// full reports whether a stream that never drops what it has refused a message for want of room.
func full(err *jetstream.APIError) bool {
	return err.ErrorCode == codeNotStored &&
		(strings.Contains(err.Description, "maximum bytes exceeded") || strings.Contains(err.Description, "maximum messages exceeded"))
}

// hasStream tells a stream without a leader, which is soon elected, from a stream that is not there. What can't be
// found out counts as the former.
func (c *Client) hasStream(ctx context.Context, subject string) bool {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := c.js.StreamNameBySubject(ctx, subject)
	return !errors.Is(err, jetstream.ErrStreamNotFound) && !noJetStream(err)
}

// whyNoStream tells a kind that a bridge does not know from no bridge at all.
func (c *Client) whyNoStream(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	names := c.js.StreamNames(ctx)
	for name := range names.Name() {
		if name == c.subjects.RequestsStream() {
			return ErrUnknownKind
		}
	}
	return ErrNoBridge
}

// Await returns the completion of a request, whether it is stored already or comes later, and whatever happens to the
// connection in between. An [Event] with another status than succeed is no error here: see [Event.Err].
//
// What is stored there and is no event about the request is passed over. It waits until ctx ends, also for a request that
// was never made. The error is [ErrNoBridge] where no stream holds events.
func (c *Client) Await(ctx context.Context, id string) (Event, error) {
	if err := validateID(id); err != nil {
		return Event{}, err
	}
	r := c.reader([]string{c.subjects.CompletionOf(Token(id))})
	r.start.DeliverPolicy = jetstream.DeliverAllPolicy
	for msg, err := range r.messages(ctx) {
		if err != nil {
			return Event{}, fmt.Errorf("await request %q: %w", id, err)
		}
		// Within the bridge's NATS account a server's answer to somebody else can get stored on any subject.
		if ev, err := decodeEvent(msg); err == nil && Token(ev.RequestID) == Token(id) {
			return ev, nil
		}
	}
	return Event{}, fmt.Errorf("await request %q: %w", id, context.Cause(ctx)) // not reached: messages end with an error
}

// Do submits a request and awaits its completion, as [Client.Submit] and [Client.Await] do. It passes what comes before
// that to [Options.OnProgress].
func (c *Client) Do(ctx context.Context, b Body, o Options) (Event, error) {
	id, err := c.Submit(ctx, b, o)
	if err != nil {
		return Event{}, err
	}
	if o.OnProgress == nil {
		return c.Await(ctx, id)
	}
	for m, err := range c.Events(ctx, id) {
		if err != nil {
			return Event{}, err
		}
		if m.Type == TypeCompletion {
			return m.Event, nil
		}
		o.OnProgress(m.Event)
	}
	return Event{}, fmt.Errorf("events of request %q: %w", id, context.Cause(ctx)) // not reached: they end with either
}

func (c *Client) reader(filters []string) *reader {
	return &reader{nc: c.nc, js: c.js, stream: c.subjects.EventsStream(), filters: filters}
}

func decodeEvent(msg jetstream.Msg) (Event, error) {
	ev, err := Decode(msg.Data())
	if err != nil {
		return ev, fmt.Errorf("event on %s: %w", msg.Subject(), err)
	}
	return ev, nil
}

// Decode reads the body of a progress, completion or late event, for programs with a consumer of their own.
func Decode(data []byte) (Event, error) {
	var ev Event
	if err := json.Unmarshal(data, &ev); err != nil {
		return ev, fmt.Errorf("decode: %w", err)
	}
	return ev, nil
}
