package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// inform writes a line to stderr, beside what is there.
func (p *program) inform(format string, args ...any) {
	fmt.Fprintln(p.log, printable(fmt.Sprintf(format, args...)))
}

// patiently runs f. Where that takes longer than a person waits without a word, it tells once what is waited for.
func (p *program) patiently(what string, f func() error) error {
	stop := p.tellLater(what)
	defer stop()
	return f()
}

// tellLater tells it unless it is stopped in time.
func (p *program) tellLater(what string) (stop func()) {
	told := make(chan struct{})
	timer := time.AfterFunc(uneasyAfter, func() {
		defer close(told)
		p.inform("%s", what)
	})
	return sync.OnceFunc(func() {
		if !timer.Stop() {
			<-told
		}
	})
}

// refusedError says that NATS refuses what a command is for.
type refusedError struct{ error }

func (e refusedError) Unwrap() error { return e.error }

// onNATS runs f with a connection to the NATS system that the bridge uses. Where that refuses what f needs, the ctx of f
// ends, and the error says so. A connection that is lost is told of.
func (p *program) onNATS(ctx context.Context, s settings, n need, f func(context.Context, *link) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &natsWatch{p: p, need: n, settings: s, refuse: cancel}
	defer w.back() // after the connection is closed
	var nc *link
	err := p.patiently("waiting for NATS at "+natsOptions(s).Where(), func() (err error) {
		nc, err = connect(ctx, s, w.options()...)
		return err
	})
	if err != nil {
		return err
	}
	defer nc.Close()
	err = f(ctx, nc)
	if refused, ok := errors.AsType[refusedError](context.Cause(ctx)); ok {
		return refused
	}
	return err
}

// need is what a command needs of NATS.
type need struct {
	// without are parts of subjects that it can do without: what is found out there is only good to know.
	without []string
	// login says that it outlives credentials that are refused for a while.
	login bool
}

// alwaysWithout are what every command can do without: the server forgets consumers by itself, and which streams there are
// only makes an error say more.
var alwaysWithout = []string{".CONSUMER.DELETE.", ".STREAM.NAMES"}

// toSubmit is what submitting needs. Whether the id is known, and how the bridge fares, is only good to know.
func toSubmit(s settings) need {
	events := s.subjects.EventsStream()
	return need{without: []string{
		s.subjects.API(""), ".STREAM.INFO." + events, ".STREAM.MSG.GET." + events, ".DIRECT.GET." + events,
	}}
}

// natsWatch tells of a connection what a person who waits wants to know.
//
// Safe for concurrent use.
type natsWatch struct {
	p        *program
	need     need
	settings settings
	refuse   context.CancelCauseFunc

	mu      sync.Mutex
	calm    func() // stops the line about the connection that is away; nil: it is not away
	refused bool   // was told, of this outage
}

func (w *natsWatch) options() []nats.Option {
	return []nats.Option{
		nats.DisconnectErrHandler(func(nc *nats.Conn, _ error) {
			if !nc.IsClosed() {
				w.away()
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { w.back() }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { w.error(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { w.error(err) }),
	}
}

func (w *natsWatch) away() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm == nil && !w.refused {
		w.calm = w.p.tellLater(fmt.Sprintf("NATS at %s is away; trying to reach it again", natsOptions(w.settings).Where()))
	}
}

func (w *natsWatch) back() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calm != nil {
		w.calm()
	}
	w.calm, w.refused = nil, false
}

// error ends the command where NATS refuses what it needs. All else is tried again.
func (w *natsWatch) error(err error) {
	switch {
	case errors.Is(err, nats.ErrPermissionViolation):
		if !w.canDoWithout(err) {
			w.refuse(refusedError{w.denied(err)})
		}
	case !credentialsRefused(err):
	case w.need.login:
		w.tellRefusal(refusedLogin(w.settings, err))
	default:
		w.refuse(refusedError{refusedLogin(w.settings, err)})
	}
}

// tellRefusal tells once until NATS is back.
func (w *natsWatch) tellRefusal(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.refused {
		w.refused = true
		if w.calm != nil { // this says more
			w.calm()
		}
		w.p.inform("%v; trying again", err)
	}
}

func (w *natsWatch) canDoWithout(err error) bool {
	return slices.ContainsFunc(slices.Concat(alwaysWithout, w.need.without), func(part string) bool {
		return strings.Contains(err.Error(), part)
	})
}

// violation is what the server says of a user who may not do something.
var violation = regexp.MustCompile(`(?i)violation for (publish|subscription) to "([^"]+)"`)

// denied says what the user lacks.
func (w *natsWatch) denied(err error) error {
	where := natsOptions(w.settings).Where()
	found := violation.FindStringSubmatch(err.Error())
	if found == nil {
		return fmt.Errorf("NATS at %s denies a permission: %w", where, err)
	}
	verb := "publish"
	if strings.EqualFold(found[1], "subscription") {
		verb = "subscribe"
	}
	return fmt.Errorf("NATS at %s denies this user the permission to %s to %q", where, verb, found[2])
}
