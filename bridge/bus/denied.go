package bus

import (
	"context"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// forgetDenied is when a publish that was denied and is not tried again counts no more: nobody needs it, or it works
	// and nobody has told.
	forgetDenied = 5 * time.Minute
	// maxDenied bounds what is remembered.
	maxDenied = 100
)

// violation matches the server's words for what it has denied.
var violation = regexp.MustCompile(`(?i)permissions violation for (publish|subscription) to "([^"]+)"`)

// denials are the permission violations of a connection. The server tells of one asynchronously: a publish without
// permission looks to its publisher like one that nobody answers.
//
// Safe for concurrent use. A nil one notes nothing.
type denials struct {
	count atomic.Int64 // of known; what works is told of all the time
	spare sync.Map     // families of publishes that can be done without, by subject
	mu    sync.Mutex
	known map[deniedKey]denied // guarded by mu
}

// deniedKey is an operation that permissions allow or deny as one.
type deniedKey struct {
	subscribe bool
	family    string
}

type denied struct {
	words   string // the server's
	subject string
	at      time.Time
}

func newDenials() *denials { return &denials{known: map[deniedKey]denied{}} }

// note takes a violation in and reports whether it is a new one.
func (d *denials) note(err error) (fresh bool) {
	if d == nil {
		return true
	}
	what := denied{words: strings.TrimPrefix(err.Error(), nats.ErrPermissionViolation.Error()+": "), at: time.Now()}
	key := deniedKey{family: what.words}
	if parts := violation.FindStringSubmatch(what.words); parts != nil {
		what.subject = parts[2]
		key = deniedKey{subscribe: strings.EqualFold(parts[1], "subscription"), family: family(what.subject)}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, before := d.known[key]
	if before || len(d.known) < maxDenied {
		d.known[key] = what
	}
	d.count.Store(int64(len(d.known)))
	return !before
}

// worked takes in that a publish on subject has been answered: its like is not denied any more.
func (d *denials) worked(subject string) {
	if d == nil || d.count.Load() == 0 {
		return
	}
	d.forget(func(key deniedKey, _ denied) bool { return key == deniedKey{family: family(subject)} })
}

// deniesSpare reports whether a publish on subject, which can be done without, has been denied lately. Such a denial is told to
// nobody.
func (d *denials) deniesSpare(subject string) bool {
	if d == nil {
		return false
	}
	if _, known := d.spare.Load(subject); !known {
		d.spare.Store(subject, family(subject))
	}
	if d.count.Load() == 0 {
		return false
	}
	key := deniedKey{family: family(subject)}
	d.mu.Lock()
	defer d.mu.Unlock()
	what, known := d.known[key]
	return known && time.Since(what.at) < forgetDenied
}

// clear is for a new connection, to which nothing has been denied yet.
func (d *denials) clear() {
	if d != nil {
		d.forget(func(deniedKey, denied) bool { return true })
	}
}

func (d *denials) forget(which func(deniedKey, denied) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	maps.DeleteFunc(d.known, which)
	d.count.Store(int64(len(d.known)))
}

// words are those of the server about what is denied now and can't be done without.
func (d *denials) words() []string {
	d.forget(func(key deniedKey, what denied) bool { return !key.subscribe && time.Since(what.at) > forgetDenied })
	spare := map[deniedKey]bool{}
	for _, family := range d.spare.Range {
		spare[deniedKey{family: family.(string)}] = true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for key, what := range d.known {
		if !spare[key] {
			all = append(all, what.words)
		}
	}
	slices.Sort(all)
	return all
}

// subscriptions are the subjects to which subscribing is denied.
func (d *denials) subscriptions() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var subjects []string
	for key, what := range d.known {
		if key.subscribe {
			subjects = append(subjects, what.subject)
		}
	}
	return subjects
}

// ackNumbers is how many tokens of an ack's subject tell one message from another.
const ackNumbers = 5

// uniqueToken is what the client makes up for an inbox or a chunk of an object.
var uniqueToken = regexp.MustCompile(`^[0-9A-Za-z]{22}$`)

// family is a subject without what differs from one message to the next: of an ack its numbers, of what begins with a
// dollar nothing, else the last token, which is an id; and tokens that are made up.
func family(subject string) string {
	drop := 1
	switch {
	case strings.HasPrefix(subject, "$JS.ACK."):
		drop = ackNumbers
	case strings.HasPrefix(subject, "$"):
		drop = 0
	}
	tokens := strings.Split(subject, ".")
	tokens = tokens[:max(len(tokens)-drop, 1)]
	for i, token := range tokens {
		if uniqueToken.MatchString(token) {
			tokens[i] = "*"
		}
	}
	return strings.Join(tokens, ".")
}

// Denied returns what the server has denied this connection and still does as far as is known, in the server's words,
// sorted. A publish is forgotten when one like it is answered, all is when the connection is made anew.
func (b *Bus) Denied() []string { return b.denials.words() }

// RetryDenied subscribes once more, for a moment, to what was denied. Where that is allowed now, the connection is made
// anew and all its subscriptions with it: the server has dropped the denied one, and the client does not know.
func (b *Bus) RetryDenied(ctx context.Context) {
	for _, subject := range b.denials.subscriptions() {
		if b.maySubscribe(ctx, subject) {
			_ = b.nc.ForceReconnect() // fails only once the connection is closed
			return
		}
	}
}

// maySubscribe takes no part in a queue: its share of the messages would be lost.
func (b *Bus) maySubscribe(ctx context.Context, subject string) bool {
	before := b.nc.LastError()
	sub, err := b.nc.SubscribeSync(subject)
	if err != nil {
		return false
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	if b.Flush(ctx) != nil {
		return false
	}
	after := b.nc.LastError() // the server refuses before it answers the flush
	return after == nil || errors.Is(before, after) || !strings.Contains(after.Error(), `"`+subject+`"`)
}

// delivered is a message as a consumer delivers it.
type delivered interface {
	Ack() error
	DoubleAck(ctx context.Context) error
	Reply() string
}

// ackTimeout bounds the wait for the server's word on an ack: longer than a leader failover, which takes up to 8 s.
const ackTimeout = 20 * time.Second

// Ack acknowledges a message that does no harm when it comes again: the ack may get lost. While something is denied it waits
// for the server's word, from which it is learned that acks are not.
func (b *Bus) Ack(ctx context.Context, msg delivered) error {
	if b.denials.count.Load() == 0 {
		return msg.Ack()
	}
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	return b.DoubleAck(ctx, msg)
}

// DoubleAck acknowledges a message and returns once the server has confirmed it.
func (b *Bus) DoubleAck(ctx context.Context, msg delivered) error {
	err := msg.DoubleAck(ctx)
	if err == nil {
		b.denials.worked(msg.Reply())
	}
	return err
}
