package call

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// refusal is an answer that is no: its code is one of HTTP's.
type refusal struct {
	code    int
	message string
	// detail is told in headers beside. Its Retryable says that Kling has certainly not done it, and that the same call could
	// succeed later.
	detail events.Error
}

func (r *refusal) Error() string { return r.message }

// refusef is about what Kling has not been asked.
func refusef(code int, format string, args ...any) *refusal {
	class := events.ErrorInvalid
	switch {
	case code == http.StatusTooManyRequests:
		class = events.ErrorCapacity
	case code >= http.StatusInternalServerError:
		class = events.ErrorInput
	}
	message := fmt.Sprintf(format, args...)
	return &refusal{code, message, events.Error{Class: class, Message: message, Retryable: code != http.StatusBadRequest}}
}

// failureOf makes an answer of what went wrong with a call.
func failureOf(call kling.SyncCall, err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	failure, ok := errors.AsType[*kling.Error](err)
	if !ok {
		return refusef(http.StatusInternalServerError, "%s", err)
	}
	unknown := failure.Action == kling.ActionLookup
	message := failure.Error()
	switch {
	case unknown:
		message += "; Kling may have done it all the same"
	case failure.HTTPStatus == 0 && call.Changes():
		message += "; Kling has not got it"
	}
	said := failure.Message
	if said == "" && failure.Err != nil {
		said = failure.Err.Error()
	}
	return &refusal{codeOf(failure), message, events.Error{
		Class: events.ErrorClass(failure.Class), Code: failure.Code, HTTPStatus: failure.HTTPStatus, Message: said,
		Retryable: failure.Retryable() && !unknown,
	}}
}

// Kling's codes for too much at a time (its error code page, 2026-10).
const (
	codeTooFast    = 1302
	codeNoCapacity = 1303
	// codeTimeout is Kling's own timeout; from codeServer on it is Kling that is at fault.
	codeServer  = 5000
	codeTimeout = 5002
)

// codeOf tells what Kling refuses from what keeps its answer away.
func codeOf(e *kling.Error) int {
	switch {
	case errors.Is(e, context.DeadlineExceeded), e.HTTPStatus == http.StatusGatewayTimeout, e.Code == codeTimeout:
		return http.StatusGatewayTimeout
	case e.Code == codeTooFast, e.Code == codeNoCapacity, e.Code == 0 && e.HTTPStatus == http.StatusTooManyRequests:
		return http.StatusTooManyRequests
	case e.Code == 0, e.Code >= codeServer, e.HTTPStatus >= http.StatusInternalServerError:
		return http.StatusBadGateway
	default:
		return http.StatusBadRequest
	}
}

// errorMsg is the answer that tells of a refusal.
func (c *Caller) errorMsg(r *refusal) *nats.Msg {
	return &nats.Msg{Header: nats.Header{
		micro.ErrorCodeHeader:        {strconv.Itoa(r.code)},
		micro.ErrorHeader:            {oneLine(r.message)},
		events.HeaderErrorClass:      {string(r.detail.Class)},
		events.HeaderErrorCode:       {strconv.Itoa(r.detail.Code)},
		events.HeaderErrorHTTPStatus: {strconv.Itoa(r.detail.HTTPStatus)},
		events.HeaderErrorMessage:    {oneLine(r.detail.Message)},
		events.HeaderErrorRetryable:  {strconv.FormatBool(r.detail.Retryable)},
	}}
}

// oneLine keeps a text within a header.
func oneLine(s string) string { return strings.TrimSpace(request.HeaderSafe(s)) }
