package bus

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// sweepEvery is how exactly the time of a waiter is kept.
const sweepEvery = 100 * time.Millisecond

// acker sends messages and waits for the stream's answer to each. It does what [nats.Conn.RequestMsgWithContext] does with
// less work for each message: waiters are used again, one timer ends all that have waited too long, and a lost
// connection ends all at once.
//
// Safe for concurrent use.
type acker struct {
	nc    *nats.Conn
	inbox string // the subjects of answers begin with it

	mu      sync.Mutex
	last    uint64             // number of the newest waiter
	waiting map[uint64]*waiter // by number
	idle    []*waiter
	sweeper *time.Timer // nil while nobody waits
}

// waiter waits for one answer. Whoever takes it out of those that wait sends it exactly one.
type waiter struct {
	until  time.Time
	answer chan answer // holds one
}

type answer struct {
	data []byte
	err  error
}

// newAcker subscribes to the answers and asks to be told when the connection is lost. Both last as long as the connection.
func newAcker(nc *nats.Conn) (*acker, error) {
	a := &acker{nc: nc, inbox: nc.NewInbox() + ".", waiting: map[uint64]*waiter{}}
	before := nc.DisconnectErrHandler()
	nc.SetDisconnectErrHandler(func(nc *nats.Conn, err error) {
		a.lost()
		if before != nil {
			before(nc, err)
		}
	})
	_, err := nc.Subscribe(a.inbox+"*", a.deliver)
	return a, err
}

// AtDeadline is the key of a value, true, that a context has which ends at its deadline and hardly before. To wait for such an end
// takes no channel, and no timer of its own. It is noticed up to sweepEvery late.
type AtDeadline struct{}

// request publishes a message and returns the answer, an error of ctx, or [nats.ErrTimeout] when none came in time. An
// answer that comes later is dropped.
func (a *acker) request(ctx context.Context, msg *nats.Msg, timeout time.Duration) ([]byte, error) {
	return a.await(ctx, a.send(ctx, msg, timeout))
}

// asked is a message that was sent. Its answer is waited for once.
type asked struct {
	n uint64 // of its waiter
	w *waiter
}

// send is the first half of request. It keeps nothing of msg.
func (a *acker) send(ctx context.Context, msg *nats.Msg, timeout time.Duration) asked {
	until := time.Now().Add(timeout)
	if deadline, ok := ctx.Deadline(); ok && endsAtDeadline(ctx) && deadline.Before(until) {
		until = deadline
	}
	n, w := a.begin(until)
	var reply [64]byte
	msg.Reply = string(strconv.AppendUint(append(reply[:0], a.inbox...), n, 36))
	if err := a.nc.PublishMsg(msg); err != nil {
		a.settle(n, answer{err: err})
	}
	return asked{n, w}
}

// await is the second half.
func (a *acker) await(ctx context.Context, of asked) ([]byte, error) {
	var ended <-chan struct{}
	if !endsAtDeadline(ctx) {
		ended = ctx.Done()
	}
	var got answer
	select {
	case got = <-of.w.answer:
	case <-ended:
		a.settle(of.n, answer{err: ctx.Err()})
		got = <-of.w.answer // or what came just before
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.idle = append(a.idle, of.w)
	return got.data, got.err
}

func endsAtDeadline(ctx context.Context) bool {
	ends, _ := ctx.Value(AtDeadline{}).(bool)
	return ends
}

func (a *acker) begin(until time.Time) (n uint64, w *waiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.idle) - 1; last >= 0 {
		w, a.idle = a.idle[last], a.idle[:last]
	} else {
		w = &waiter{answer: make(chan answer, 1)}
	}
	w.until = until
	a.last++
	a.waiting[a.last] = w
	if a.sweeper == nil {
		a.sweeper = time.AfterFunc(sweepEvery, a.sweep)
	}
	return a.last, w
}

// settle gives a waiter its answer, unless it has one.
func (a *acker) settle(n uint64, got answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if w := a.waiting[n]; w != nil {
		delete(a.waiting, n)
		w.answer <- got
	}
}

func (a *acker) deliver(msg *nats.Msg) {
	n, err := strconv.ParseUint(strings.TrimPrefix(msg.Subject, a.inbox), 36, 64)
	if err != nil {
		return // somebody else's
	}
	got := answer{data: msg.Data}
	if len(msg.Data) == 0 && msg.Header.Get("Status") == "503" {
		got.err = nats.ErrNoResponders
	}
	a.settle(n, got)
}

// sweep ends what has waited too long.
func (a *acker) sweep() {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, w := range a.waiting {
		if now.After(w.until) {
			delete(a.waiting, n)
			w.answer <- answer{err: nats.ErrTimeout}
		}
	}
	a.sweeper = nil
	if len(a.waiting) > 0 {
		a.sweeper = time.AfterFunc(sweepEvery, a.sweep)
	}
}

// lost ends all that wait: what they were sent by is gone.
func (a *acker) lost() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for n, w := range a.waiting {
		delete(a.waiting, n)
		w.answer <- answer{err: nats.ErrDisconnected}
	}
}

// plainAck reads what the server answers to a publish that it has stored, when there is nothing else to tell. Whatever looks
// otherwise is for the decoder of JSON.
func plainAck(data []byte) (seq uint64, ok bool) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"stream":"`))
	if !ok {
		return 0, false
	}
	name, rest, ok := bytes.Cut(rest, []byte(`"`))
	if !ok || len(name) == 0 || bytes.IndexByte(name, '\\') >= 0 {
		return 0, false
	}
	rest, found := bytes.CutPrefix(rest, []byte(`,`))
	rest, named := bytes.CutPrefix(bytes.TrimLeft(rest, " "), []byte(`"seq":`))
	digits, ended := bytes.CutSuffix(rest, []byte(`}`))
	if !found || !named || !ended {
		return 0, false
	}
	return plainNumber(digits)
}

// plainNumber reads a number above zero of up to 19 digits.
func plainNumber(digits []byte) (n uint64, ok bool) {
	if len(digits) == 0 || len(digits) > 19 || digits[0] == '0' {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}
