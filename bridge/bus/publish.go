package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Ack is the certain answer to a publish.
type Ack struct {
	Seq uint64 // of the stored message; zero when Stored is false
	// Stored tells that this publish stored the message. When it is false the publish was refused because its guard or
	// its message id found an earlier one: by somebody else, or by an earlier try of this publish whose ack was lost.
	Stored bool
	// Duplicate is the sequence at which a message with the same id was stored within the stream's duplicate window, and
	// may be gone by now; zero: the publish was not refused for that.
	Duplicate uint64
}

const (
	// attemptTimeout bounds one try. A leader failover takes up to 8 s and is bridged by trying again.
	attemptTimeout = 2 * time.Second
	firstRetryWait = 50 * time.Millisecond
	maxRetryWait   = time.Second
)

// ErrUnavailable marks an outcome that stayed unknown until the caller's deadline: the message may be stored or not.
var ErrUnavailable = errors.New("JetStream is not available")

// ErrNoTimer tells that a message was not stored because something else is where it would remove a timer ([PurgeTimer]).
var ErrNoTimer = errors.New("not a timer")

// Publish stores a message and tries again until the answer is certain or ctx ends, which it must do. To be tried again
// safely the message needs a guard ([GuardSequence]) or a message id.
//
// This is the only place that says what an answer to a publish means.
func (b *Bus) Publish(ctx context.Context, msg *nats.Msg) (Ack, error) {
	wait := firstRetryWait
	var last error
	for {
		began := time.Now()
		ack, again, err := b.publishOnce(ctx, msg)
		b.notePublish(msg.Subject, ack, err, began)
		if err == nil || again == never {
			return ack, err
		}
		if last == nil || ctx.Err() == nil { // a try that is cut short says less than the one before
			last = err
		}
		pause := jitter(wait)
		if again == soon {
			pause = 10*time.Millisecond + rand.N(40*time.Millisecond)
		} else {
			wait = min(2*wait, maxRetryWait)
		}
		select {
		case <-ctx.Done():
			return Ack{}, fmt.Errorf("publish %s: %w: %w", msg.Subject, ErrUnavailable, last)
		case <-time.After(pause):
			b.retried()
		}
	}
}

func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// again says whether to repeat a publish that did not end in an ack.
type again int

const (
	never again = iota // the answer is final
	soon               // another write of the same is in flight
	later              // the outcome is unknown
)

// Start sends a message and returns at once, so that another may go out with it. stored waits for the answer, and is called once,
// or not at all where nobody wants to know any more: it reports whether the message is stored. Where it is not, or nobody knows,
// [Bus.Publish] is to follow.
func (b *Bus) Start(ctx context.Context, msg *nats.Msg) (stored func(context.Context) bool) {
	if err := b.roomFor(ctx, msg); err != nil {
		return func(context.Context) bool { return false }
	}
	began, subject, sent := time.Now(), msg.Subject, b.acker.send(ctx, msg, attemptTimeout)
	return func(ctx context.Context) bool {
		reply, err := b.acker.await(ctx, sent)
		ack, again, err := b.judge(subject, reply, err)
		b.notePublish(subject, ack, err, began)
		if again != never {
			b.retried()
		}
		return ack.Stored
	}
}

func (b *Bus) publishOnce(ctx context.Context, msg *nats.Msg) (Ack, again, error) {
	if err := b.roomFor(ctx, msg); err != nil {
		return Ack{}, later, err
	}
	reply, err := b.acker.request(ctx, msg, attemptTimeout)
	return b.judge(msg.Subject, reply, err)
}

// judge says what came of a publish, by the answer or the error instead of one.
func (b *Bus) judge(subject string, reply []byte, err error) (Ack, again, error) {
	if err != nil {
		return Ack{}, classifyClient(err), err
	}
	b.denials.worked(subject)
	if seq, ok := plainAck(reply); ok {
		return Ack{Seq: seq, Stored: true}, never, nil
	}
	return classifyAnswer(reply)
}

// classifyAnswer reads an answer that is more than a plain ack.
func classifyAnswer(reply []byte) (Ack, again, error) {
	var resp struct {
		Error *jetstream.APIError `json:"error"`
		jetstream.PubAck
	}
	if err := json.Unmarshal(reply, &resp); err != nil {
		return Ack{}, later, fmt.Errorf("answer of stream: %w", err)
	}
	if resp.Error != nil {
		return classifyServer(resp.Error)
	}
	if resp.Stream == "" {
		return Ack{}, later, errors.New("answer names no stream")
	}
	if resp.Duplicate {
		return Ack{Duplicate: resp.Sequence}, never, nil
	}
	return Ack{Seq: resp.Sequence, Stored: true}, never, nil
}

func classifyClient(err error) again {
	switch {
	case errors.Is(err, nats.ErrMaxPayload), errors.Is(err, nats.ErrBadSubject), errors.Is(err, nats.ErrConnectionClosed),
		errors.Is(err, nats.ErrHeadersNotSupported):
		return never
	default: // no responders, time-out, disconnected, the reconnect buffer that is off
		return later
	}
}

// CodeNoPeers is the server's error code for a stream that too few servers are there for: one may be starting.
const CodeNoPeers = 10005

// Error codes of the server that nats.go does not name.
const (
	codeDuplicateInFlight = 10158 // "duplicate message id is in process", seen on replicated streams only
	codeGuardInFlight     = 10164 // "wrong last sequence" without a number, likewise
	codeNoTimer           = 10212 // "message schedules invalid scheduler"
	codeNotStored         = 10077 // for any reason, which only the description tells
	codeUnavailable       = 503
	codeTooMany           = 429 // the server has more in hand for the stream than it keeps: "too many requests", 10167
)

func classifyServer(err *jetstream.APIError) (Ack, again, error) {
	switch {
	case err.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence:
		return Ack{}, never, nil
	case err.ErrorCode == codeDuplicateInFlight, err.ErrorCode == codeGuardInFlight:
		return Ack{}, soon, err
	case err.ErrorCode == codeNoTimer:
		return Ack{}, never, fmt.Errorf("%w: %w", ErrNoTimer, err)
	case err.ErrorCode == codeNotStored && strings.HasPrefix(err.Description, "maximum "): // bytes or messages exceeded
		return Ack{}, never, fmt.Errorf("%w: %w", ErrFull, err)
	case err.Code == codeUnavailable, err.Code == codeTooMany:
		return Ack{}, later, err
	default:
		return Ack{}, never, err
	}
}
