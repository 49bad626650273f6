package kling

import (
	"context"
	"errors"
	"time"
)

// Call is one finished call of a [Client], for whoever counts them.
type Call struct {
	Op       string // as in [Error.Op]
	Duration time.Duration
	Err      *Error // nil: Kling did what it was asked
}

// Observed returns a client that tells observe of each of its calls, with the ctx of the call, and is otherwise the
// same: closing one closes both. observe is called from any goroutine and should return at once.
func (c *Client) Observed(observe func(context.Context, Call)) *Client {
	observed := *c
	observed.observe = observe
	return &observed
}

// watch notes the beginning of a call and returns what its end is to be reported to.
func (c *Client) watch(ctx context.Context, op string) (done func(error)) {
	if c.observe == nil {
		return func(error) {}
	}
	began := time.Now()
	return func(err error) {
		failure, _ := errors.AsType[*Error](err)
		c.observe(ctx, Call{Op: op, Duration: time.Since(began), Err: failure})
	}
}

// KnownCode reports whether a code is in Kling's list of error codes.
func KnownCode(code int) bool {
	_, known := judgeCode(code)
	return known
}
