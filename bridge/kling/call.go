package kling

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// maxAnswer bounds an answer in bytes. A list page of 500 tasks takes about 2 MB.
const maxAnswer = 16 << 20

const (
	opCreate  = "create"
	userAgent = "klingbridge"
)

// request is one call of the API.
type request struct {
	op     string
	kind   string
	method string
	path   string   // escaped, with its query
	body   [][]byte // in pieces; nil: none

	changes bool // it makes or changes something at Kling, so that an unknown outcome is worth finding out
	once    bool // it is sent once, also where Kling refuses the token
}

// newBody reads the body from its start, as far as the fence lets it. oneStep tells whether what is read of it is written next.
func (r request) newBody(fence func() error, oneStep func() bool) io.ReadCloser {
	if r.body == nil {
		return http.NoBody
	}
	pieces := net.Buffers(slices.Clone(r.body)) // all that there is room for is one read
	body := io.Reader(&pieces)
	if fence != nil && r.op == opCreate {
		body = &fencedBody{Reader: body, may: fence, oneStep: oneStep, size: r.bodySize(), left: r.bodySize()}
	}
	return io.NopCloser(body)
}

func (r request) bodySize() (size int64) {
	for _, p := range r.body {
		size += int64(len(p))
	}
	return size
}

// answer is what Kling says to a call that it accepted.
type answer struct {
	status    int
	requestID string
	data      json.RawMessage
}

// call sends a request, once more with a fresh token when Kling refuses the first, and unwraps the answer.
func (c *Client) call(ctx context.Context, r request) (answer, error) {
	if ctx.Err() != nil {
		return answer{}, r.fail(verdict{action: ActionRetry, class: ClassKling}, context.Cause(ctx))
	}
	limit := c.timeout + UploadTime(r.bodySize())
	ctx, cancel := context.WithTimeoutCause(ctx, limit, lateError(limit))
	defer cancel()

	token, err := c.auth.bearer()
	if err != nil {
		return answer{}, r.fail(verdict{action: ActionPause, class: ClassAuth, accountWide: true}, err)
	}
	a, failure := c.send(ctx, r, token)
	if failure == nil {
		return a, nil
	}
	if !credentialCode(failure.Code) || !c.auth.discard(token) || r.once {
		return answer{}, failure
	}
	if token, err = c.auth.bearer(); err != nil {
		return answer{}, failure
	}
	if a, failure = c.send(ctx, r, token); failure != nil {
		return answer{}, failure
	}
	return a, nil
}

// lateError is why a call was given up, by the time that it had. Its text is only made where it is needed.
type lateError time.Duration

func (e lateError) Error() string {
	return fmt.Sprintf("no answer within %s: %s", time.Duration(e), context.DeadlineExceeded)
}

func (lateError) Unwrap() error { return context.DeadlineExceeded }

// send makes one HTTP exchange.
func (c *Client) send(ctx context.Context, r request, token string) (answer, *Error) {
	wire := wireWatch{plainHTTP1: c.plainHTTP1}
	req, err := http.NewRequestWithContext(wire.watch(ctx), r.method, c.base+r.path, r.newBody(c.fence, wire.oneStep.Load))
	if err != nil {
		return answer{}, r.fail(verdict{action: ActionReject, class: ClassInvalid}, err)
	}
	req.ContentLength = r.bodySize()
	req.GetBody = func() (io.ReadCloser, error) { return r.newBody(c.fence, wire.oneStep.Load), nil } // for a connection that turns out to be closed
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", userAgent)
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if errors.Is(err, ErrFenced) {
		return answer{}, r.fail(verdict{action: ActionRetry, class: ClassKling}, cause(ctx, err))
	}
	if err != nil {
		return answer{}, r.unanswered(ctx, err, wire.maySent())
	}
	defer res.Body.Close()
	body, err := readAnswer(res.Body)
	if err != nil {
		return answer{}, r.truncated(ctx, res.StatusCode, err)
	}
	a, failure := r.read(res.StatusCode, res.Header, body)
	if failure != nil {
		failure.Message = line(c.auth.redact(failure.Message, token), maxMessage)
	}
	return a, failure
}

// uploadRate is what a line must carry, in bytes a second, for a body to get through in time: a body with an image of
// 50 MB takes minutes on many.
const uploadRate = 256 << 10

// UploadTime is what a body of that size, in bytes, adds to the time that a call may take.
func UploadTime(size int64) time.Duration {
	return time.Duration(size/uploadRate) * time.Second
}

func readAnswer(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, maxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxAnswer {
		return nil, fmt.Errorf("answer is larger than %d bytes", maxAnswer)
	}
	return data, nil
}

// fail makes the error of a call. A query changes nothing, so its outcome is never worth a lookup.
func (r request) fail(v verdict, cause error) *Error {
	if v.action == ActionLookup && !r.changes {
		v.action = ActionRetry
	}
	return &Error{
		Op: r.op, Kind: r.kind, Action: v.action, Class: v.class, AccountWide: v.accountWide, Err: cause,
	}
}

// unanswered is the failure of a call that got no answer.
func (r request) unanswered(ctx context.Context, err error, maySent bool) *Error {
	v := verdict{action: ActionRetry, class: ClassKling}
	if maySent {
		v.action = ActionLookup
	}
	return r.fail(v, cause(ctx, err))
}

// truncated is the failure of a call whose answer broke off. A 4xx created nothing, whatever its reason.
func (r request) truncated(ctx context.Context, status int, err error) *Error {
	v := verdict{action: ActionLookup, class: ClassKling}
	if status >= 400 && status < 500 {
		v.action = ActionRetry
	}
	failure := r.fail(v, fmt.Errorf("read answer: %w", cause(ctx, err)))
	failure.HTTPStatus = status
	return failure
}

// malformed is the failure of a call whose answer says yes but not to what.
func (r request) malformed(a answer, err error) *Error {
	failure := r.fail(verdict{action: ActionLookup, class: ClassKling}, fmt.Errorf("%w answer: %w", ErrMalformed, err))
	failure.HTTPStatus, failure.RequestID = a.status, a.requestID
	return failure
}

func (r request) notFound(a answer) *Error {
	failure := r.fail(verdict{action: ActionReject, class: ClassInvalid}, nil)
	failure.NotFound, failure.Message = true, "no such task"
	failure.HTTPStatus, failure.RequestID = a.status, a.requestID
	return failure
}

// denial is how Kling's message begins when a query names an id that it does not know: "Task not found by id/external
// id: job-7" (recorded 2026-09, of V1 kinds, with code 1201).
const denial = "task not found"

// asNotFound marks the refusals of a query that mean an unknown id. Kling uses one of their codes also for a route that
// it has retired ("This API is no longer available", recorded 2026-09), which denies no task.
func asNotFound(err error) error {
	failure, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	denied := strings.HasPrefix(strings.ToLower(failure.Message), denial)
	failure.NotFound = failure.Code == codeMissing || failure.Code == codeBadValue && denied
	return err
}

// cause prefers the reason why ctx ended, and drops the URL around a transport's error: it may list a hundred ids.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

// wireWatch finds out whether a request that got no answer may have reached Kling.
//
// net/http asks for a connection, dials and shakes hands, and then writes. It reports the headers as written when they
// are buffered, before any of the body: without that report Kling can't have got a whole request. It starts over by
// itself, asking for another connection, only when it knows that nothing of a request with a body was written.
type wireWatch struct {
	plainHTTP1 bool // a connection without TLS has HTTP/1

	asked, written atomic.Bool
	oneStep        atomic.Bool // the connection has HTTP/1
}

func (w *wireWatch) watch(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) {
			w.asked.Store(true)
			w.written.Store(false)
			w.oneStep.Store(false)
		},
		GotConn: func(got httptrace.GotConnInfo) {
			secured, ok := got.Conn.(*tls.Conn)
			w.oneStep.Store(!ok && w.plainHTTP1 || ok && secured.ConnectionState().NegotiatedProtocol != "h2")
		},
		WroteHeaders: func() { w.written.Store(true) },
	})
}

// maySent errs on the side of caution with a transport that reports nothing.
func (w *wireWatch) maySent() bool { return !w.asked.Load() || w.written.Load() }
