package kling

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// Brief says in a few words what went wrong, for people: "connection refused", "HTTP 503", "too many requests (code 1302)".
func (e *Error) Brief() string {
	refused, isErrno := errors.AsType[syscall.Errno](e.Err)
	unknown, isDNS := errors.AsType[*net.DNSError](e.Err)
	switch {
	case e.Message != "" && e.Code != 0:
		return fmt.Sprintf("%s (code %d)", line(e.Message, maxBrief), e.Code)
	case e.Message != "":
		return line(e.Message, maxBrief)
	case isErrno:
		return refused.Error()
	case isDNS:
		return unknown.Err + " " + unknown.Name
	case errors.Is(e.Err, context.DeadlineExceeded):
		return "no answer"
	case e.HTTPStatus != 0:
		return fmt.Sprintf("HTTP %d", e.HTTPStatus)
	case e.Err != nil:
		return line(e.Err.Error(), maxBrief)
	default:
		return string(e.Class)
	}
}

// maxBrief bounds what is quoted, in bytes.
const maxBrief = 120
