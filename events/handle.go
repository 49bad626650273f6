package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Handling says how [Client.HandleWith] goes about its work. The zero value will do.
type Handling struct {
	// AtATime bounds the events in hand of one process. Zero: 16.
	AtATime int
	// Tries is after how many failures an event is set aside. Zero: 10, which take about nine minutes. A failure is an error
	// that the handler returned in this call of HandleWith, but for those of [TryIn] and those after the end of ctx. Each
	// process counts its own and begins anew when it starts: an event may be tried more often by several, never less often.
	Tries int
	// SetAside takes an event that is not to be tried again, and why: to keep it somewhere, say. The server is told to give
	// the event up after SetAside has returned nil. After an error the event comes again later, as after a failure: to the
	// handler first, and if that fails to SetAside; the error is logged, by slog's default. Where a process dies in between SetAside is called again, too. Nil: the
	// event is logged, by slog's default.
	SetAside func(ctx context.Context, m Message, why error) error
	// Pending is how many events may be in hand or wait for another try, at all processes together: the others are held up
	// beyond that. Zero: the server's default, 1000. It counts for a consumer that is made.
	Pending int
	// Mark is a word in the metadata of the consumer by which a program knows its own: one of the same name without it is
	// left alone, and the error is [ErrNotMine]. Empty: any is taken but the bridge's own.
	Mark string
	// Ready is called once the consumer is there. Nil: nobody is told.
	Ready func()
}

const (
	handledAtATime = 16
	handleTries    = 10
	handleIdle     = time.Minute // after which the server forgets a place without a name that nobody reads, and it is given up
	firstHandle    = time.Second // before the second try, doubled with each
	longestHandle  = 5 * time.Minute
	handleAckWait  = 30 * time.Second // silence after which another process takes an event over
)

// ErrNotMine says that there is a consumer of that name without the mark, see [Handling], or that it is the bridge's own:
// "polls" or "archive".
var ErrNotMine = errors.New("there is another consumer of that name")

// errSetAside marks what [SetAside] returns.
var errSetAside = errors.New("set aside")

// SetAside makes an error of which a handler knows that no other try will help: the event is set aside at once.
func SetAside(err error) error { return fmt.Errorf("%w: %w", errSetAside, err) }

// delayed is what [TryIn] returns.
type delayed struct {
	error
	wait time.Duration
}

func (d delayed) Unwrap() error { return d.error }

// TryIn makes an error of which a handler knows when another try may help: the event comes again after that time, however
// often it has come, and is not set aside for it.
func TryIn(wait time.Duration, err error) error { return delayed{err, wait} }

// Handle calls handle for every completion that f picks, until ctx ends: those stored since it was first called with this
// durable name, or from f.Since or f.FromStart on. The name stands for a place in the stream, which is kept at the server:
// processes that use the same name share the work, and one that starts anew goes on where the last one was.
//
// An event is done with when handle returns nil. After an error it comes again in 1 s, 2 s, 4 s … 5 minutes, and after ten
// failures in one process, or at once with [SetAside], it is set aside: logged, and not tried any more. It stays in the
// stream, where [Client.Events] finds it. Failed requests are completions like others: see [Event.Err]. A process that dies in the middle
// leaves its events to the others after 30 s, so that handle may be called again with what it has done already.
//
// Up to 16 calls run at a time. Their ctx has the trace of the request. [Client.HandleWith] has it otherwise.
//
// The error says why there is no way to go on: the end of ctx, [ErrNoBridge], [ErrNotMine] where the name is that of one of the
// bridge's own consumers, or a consumer that was deleted meanwhile.
func (c *Client) Handle(ctx context.Context, durable string, f Filter, handle func(context.Context, Event) error) error {
	return c.HandleWith(ctx, durable, f, Handling{}, func(ctx context.Context, m Message) error { return handle(ctx, m.Event) })
}

// HandleWith is [Client.Handle] by other bounds, for a handler that wants the whole message. f.Types may name other events
// than completions. Without a durable name the place in the stream is kept for this call, by one server, and forgotten a
// minute after it. Once that server has not answered for a minute there is an error: what was stored since the last event
// has to be read anew, from f.Since on.
func (c *Client) HandleWith(
	ctx context.Context, durable string, f Filter, how Handling, handle func(context.Context, Message) error,
) error {
	h, err := c.newHandler(ctx, durable, f, how, handle)
	if err != nil {
		return fmt.Errorf("handle events as %q: %w", durable, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var workers sync.WaitGroup
	for range h.how.AtATime {
		workers.Go(func() { cancel(h.work(ctx)) })
	}
	workers.Wait()
	return fmt.Errorf("handle events as %q: %w", durable, context.Cause(ctx))
}

// handler is one call of HandleWith.
type handler struct {
	*Client
	consumer jetstream.Consumer
	how      Handling
	failures failures
	handle   func(context.Context, Message) error
}

// work handles one event after the other. It returns why there is no way to go on.
func (h *handler) work(ctx context.Context) error {
	messages, err := h.consumer.Messages(jetstream.PullMaxMessages(1), jetstream.PullHeartbeat(heartbeat))
	if err != nil {
		return err
	}
	defer giveBack(messages)
	var silent silence
	for {
		asked := time.Now()
		msg, err := messages.Next(jetstream.NextContext(ctx))
		switch {
		case err == nil:
			silent.end()
			h.settle(ctx, msg)
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, jetstream.ErrMsgIteratorClosed), errors.Is(err, nats.ErrConnectionClosed):
			return err
		default:
			if lost := h.lost(ctx, err, asked, &silent); lost != nil {
				return lost
			}
			_ = wait(ctx, retryWait) // the server is away, or has no leader
		}
	}
}

// giveBack ends the pulling. What was sent just then is for another process, at once.
func giveBack(messages jetstream.MessagesContext) {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	messages.Drain()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			break
		}
		_ = msg.Nak() // without it the message comes back after the ack wait
	}
	messages.Stop()
}

// lost says why a pull that was asked for and failed is not to be tried again. Nil: it is.
func (h *handler) lost(ctx context.Context, failed error, asked time.Time, silent *silence) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	_, err := h.consumer.Info(ctx)
	switch {
	case err == nil:
		silent.end()
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return failed
	case h.consumer.CachedInfo().Config.Durable == "" && silent.since(asked) >= handleIdle:
		return fmt.Errorf("the consumer has not answered for %s: %w", handleIdle, failed)
	}
	return nil // the place of a durable name is kept for as long as its servers are away
}

// silence is the time in which nothing was answered. Zero: it was.
type silence struct{ began time.Time }

// since is how long it lasts, with a pull from asked on that has failed. One that took longer than a pull without a
// heartbeat had some, and failed later.
func (s *silence) since(asked time.Time) time.Duration {
	if s.began.IsZero() || time.Since(asked) > 3*heartbeat+apiTimeout {
		s.began = time.Now()
	}
	return time.Since(s.began)
}

func (s *silence) end() { s.began = time.Time{} }

// settle calls the handler and tells the server what came of it. Where that gets lost the event comes again.
func (h *handler) settle(ctx context.Context, msg jetstream.Msg) {
	m, err := h.message(msg)
	if meta, metaErr := msg.Metadata(); metaErr == nil {
		m.Try = int(meta.NumDelivered)
	}
	handling, release := inHand(h.trace.Extract(ctx, HeaderCarrier(msg.Headers())), msg)
	answer := h.try(handling, m, err)
	release()
	_ = answer(msg)
}

// inHand tells the server now and then that the event is in hand, until it is released. The context ends with that.
func inHand(ctx context.Context, msg jetstream.Msg) (handling context.Context, release func()) {
	ctx, cancel := context.WithCancel(ctx)
	var beat sync.WaitGroup
	beat.Go(func() {
		for wait(ctx, handleAckWait/3) == nil {
			_ = msg.InProgress()
		}
	})
	return ctx, func() {
		cancel()
		beat.Wait()
	}
}

// try calls the handler, unless the event is unreadable, and returns what the server is to be told.
func (h *handler) try(ctx context.Context, m Message, unreadable error) func(jetstream.Msg) error {
	var err error
	if unreadable != nil {
		err = SetAside(unreadable)
	} else {
		err = h.handle(ctx, m)
	}
	later, isLater := errors.AsType[delayed](err)
	switch {
	case err == nil:
		h.failures.forget(m.Sequence)
		return func(msg jetstream.Msg) error { return h.doubleAck(ctx, msg) }
	case ctx.Err() != nil: // it was not given the time: another process, at once
		return jetstream.Msg.Nak
	case isLater:
		return again(later.wait)
	}
	n := h.failures.add(m.Sequence)
	if !errors.Is(err, errSetAside) && n < h.how.Tries || !h.setAside(ctx, m, err) {
		return again(min(firstHandle<<min(n-1, 20), longestHandle))
	}
	h.failures.forget(m.Sequence)
	return func(msg jetstream.Msg) error { return msg.TermWithReason("set aside") }
}

// setAside reports whether the event was set aside.
func (h *handler) setAside(ctx context.Context, m Message, why error) bool {
	err := h.how.SetAside(ctx, m, why)
	if err != nil && ctx.Err() == nil {
		slog.ErrorContext(ctx, "event could not be set aside", append(attrsOf(m), slog.Any("err", err), slog.Any("why", why))...)
	}
	return err == nil
}

// attrsOf name an event in the log.
func attrsOf(m Message) []any {
	return []any{slog.String("subject", m.Subject), slog.Uint64("sequence", m.Sequence), slog.String("request_id", m.Event.RequestID)}
}

func again(wait time.Duration) func(jetstream.Msg) error {
	return func(msg jetstream.Msg) error { return msg.NakWithDelay(wait) }
}

// doubleAck makes sure of the ack, also while ctx ends: what is done is not to be done again.
func (h *handler) doubleAck(ctx context.Context, msg jetstream.Msg) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return msg.DoubleAck(ctx)
}

func logSetAside(ctx context.Context, m Message, why error) error {
	slog.ErrorContext(ctx, "event set aside", append(attrsOf(m), slog.Any("err", why))...)
	return nil
}
