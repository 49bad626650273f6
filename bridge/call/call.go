package call

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// Limits of what is asked.
const (
	// maxUnderWay bounds the calls under way on one replica. One more is refused rather than kept: its requester may have
	// gone by the time that it is sent, and paid for.
	maxUnderWay = 16
	maxBody     = 8 << 20 // bytes of a body as it comes, without the files it refers to
	maxQuery    = 4 << 10 // bytes of the query that a body becomes
	inputTime   = 30 * time.Second
	// fileTime is for how long a file that a call refers to is there for Kling.
	fileTime = time.Hour
)

// Caller makes the calls. Its endpoints are part of the bridge's micro service, whose replicas share them.
type Caller struct {
	// Client is the client of an account; empty: of any that can make the call. false: there is no such account.
	Client    func(account string) (*kling.Client, bool)
	Inputs    *request.Attachments
	Conn      *nats.Conn
	Subjects  subjects.Subjects
	Telemetry *telemetry.Tracer
	Metrics   *Metrics
	Log       *slog.Logger

	mu       sync.Mutex
	stopped  bool // no call is begun any more
	underWay int
	calls    sync.WaitGroup
}

// AddTo adds the endpoints to the service, in a group of their own. hard ends the calls under way at once.
func (c *Caller) AddTo(hard context.Context, svc micro.Service) error {
	group := svc.AddGroup(c.Subjects.Calls())
	for _, of := range kling.SyncCalls() {
		if err := group.AddEndpoint(of.Name, c.handler(hard, of)); err != nil {
			return fmt.Errorf("call %s: %w", of.Name, err)
		}
	}
	return nil
}

// Stop begins no further call.
func (c *Caller) Stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
}

// Wait returns once no call is under way, after Stop.
func (c *Caller) Wait() { c.calls.Wait() }

// handler makes each call in a goroutine of its own: the library calls handlers one after the other.
func (c *Caller) handler(hard context.Context, of kling.SyncCall) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		if r.Reply() == "" { // nobody to answer: it would be paid for in vain
			return
		}
		asked := question{call: of, header: nats.Header(r.Headers()), body: r.Data(), reply: r.Reply(), began: time.Now()}
		c.mu.Lock()
		defer c.mu.Unlock()
		switch {
		case c.stopped: // another replica may be there for the next
			c.refuse(hard, asked, refusef(http.StatusBadGateway, "this replica is being stopped; Kling has not got the call"))
			return
		case c.underWay >= maxUnderWay:
			c.refuse(hard, asked, refusef(http.StatusTooManyRequests,
				"%d calls are under way on this replica, as many as it makes at a time; Kling has not got this one", maxUnderWay))
			return
		}
		c.underWay++
		c.calls.Go(func() {
			defer c.done()
			c.answer(hard, asked)
		})
	})
}

// refuse answers a call that is not begun.
func (c *Caller) refuse(ctx context.Context, q question, why *refusal) {
	c.publish(ctx, q, c.errorMsg(why))
	c.note(ctx, q, why.code, why)
}

func (c *Caller) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.underWay--
}

// question is one call that was asked for.
type question struct {
	call   kling.SyncCall
	header nats.Header
	body   []byte
	reply  string
	began  time.Time
}

// account is what the header of that name says, in any case; empty: nothing.
func (q question) account() string {
	for name, values := range q.header {
		if strings.EqualFold(name, events.HeaderAccount) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

// answer makes a call and publishes its answer.
func (c *Caller) answer(ctx context.Context, q question) {
	ctx, span := c.startSpan(ctx, q)
	data, err := c.make(ctx, q)
	msg := &nats.Msg{Data: data, Header: nats.Header{events.HeaderContentType: {events.ContentTypeJSON}}}
	if err == nil && int64(msg.Size()) > c.Conn.MaxPayload() {
		err = refusef(http.StatusInternalServerError,
			"Kling has answered, in %d bytes: more than a NATS message may have", len(data))
	}
	code := http.StatusOK
	if err != nil {
		failure := failureOf(q.call, err)
		code, msg = failure.code, c.errorMsg(failure)
	}
	c.publish(ctx, q, msg)
	c.note(ctx, q, code, err)
	telemetry.EndSpan(span, err)
}

// make makes a call and returns its data, {} where Kling gives none.
func (c *Caller) make(ctx context.Context, q question) ([]byte, error) {
	client, ok := c.Client(q.account())
	if !ok {
		return nil, refusef(http.StatusBadRequest, "%s: there is no account %q", events.HeaderAccount, request.Clip(q.account()))
	}
	if len(q.body) > maxBody {
		return nil, refusef(http.StatusBadRequest, "body: %d bytes, want at most %d; larger files go into a bucket", len(q.body), maxBody)
	}
	req, err := request.ReadCall(q.body, q.began.Add(fileTime))
	if err != nil {
		return nil, refusef(http.StatusBadRequest, "%s", err)
	}
	body, done, err := c.body(ctx, q, req)
	if err != nil {
		return nil, err
	}
	defer done()
	data, err := client.Sync(ctx, q.call, body...)
	if data == nil && err == nil {
		return []byte("{}"), nil
	}
	return data, err
}

// body is what is sent: the bytes that came, unless they refer to files, or the query they stand for. done gives back the
// room that the files take.
func (c *Caller) body(ctx context.Context, q question, req *request.Request) (body [][]byte, done func(), err error) {
	cause := fmt.Errorf("the files could not be read within %s: %w", inputTime, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, inputTime, cause)
	defer cancel()
	done, err = c.Inputs.Take(ctx, req)
	if err != nil {
		return nil, nil, notSent(ctx, err)
	}
	resolved, why, err := c.Inputs.Resolve(ctx, req)
	switch {
	case err != nil:
		err = notSent(ctx, err)
	case why != nil:
		err = &refusal{code: http.StatusBadRequest, message: why.Error(), detail: *why}
	case q.call.Method == http.MethodGet:
		body, err = query(resolved)
	case req.HasReferences() || len(q.body) == 0:
		body = resolved.Pieces()
	default:
		body = [][]byte{q.body}
	}
	if err != nil {
		done()
		return nil, nil, err
	}
	return body, done, nil
}

func query(o request.Object) ([][]byte, error) {
	query, err := o.Query()
	if err == nil && len(query) > maxQuery {
		err = fmt.Errorf("body: %d bytes as a query, want at most %d", len(query), maxQuery)
	}
	if err != nil {
		return nil, refusef(http.StatusBadRequest, "%s", err)
	}
	return [][]byte{[]byte(query)}, nil
}

// notSent says of what went wrong before the call that the call was not made.
func notSent(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return refusef(http.StatusInternalServerError, "%s; Kling has not got the call", err)
}

func (c *Caller) publish(ctx context.Context, q question, msg *nats.Msg) {
	msg.Subject = q.reply
	if err := c.Conn.PublishMsg(msg); err != nil {
		c.Log.WarnContext(ctx, "answer a call", slog.String("call", q.call.Name), slog.Any("err", err))
	}
}
