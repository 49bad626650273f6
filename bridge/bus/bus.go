package bus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// MinServerVersion is the oldest NATS server that keeps the promises: message schedules that a publish can purge.
const MinServerVersion = "2.14.0"

// closingFlush bounds the wait for the server to have read what was sent last.
const closingFlush = 500 * time.Millisecond

// ErrServerTooOld is returned by [Open] and [CheckVersion] for a server older than [MinServerVersion].
var ErrServerTooOld = errors.New("NATS server is too old")

// Bus is a connection to JetStream, with the embedded server if there is one.
type Bus struct {
	nc       *nats.Conn
	acker    *acker
	js       jetstream.JetStream
	embedded *embedded
	closing  sync.Once
	denials  *denials
	room     atomic.Pointer[room] // nil: no stream is kept from getting full
	retried  func()               // told of each publish that has to be tried again
	health   health
	clock    clock
}

// New uses a connection that stands and was made with these options, and takes it over: [Bus.Close] closes it. What the
// server denies it is not told of: see [Bus.Denied].
func New(nc *nats.Conn, o Options) (*Bus, error) {
	b := &Bus{nc: nc, denials: newDenials(), retried: func() {}, clock: newClock(o)}
	return b, b.use(o)
}

// use prepares the connection for JetStream.
func (b *Bus) use(o Options) (err error) {
	prefix, err := o.apiPrefix()
	if err != nil {
		return err
	}
	if b.acker, err = newAcker(b.nc); err != nil {
		return err
	}
	answered := func(subject string, _ []byte, _ nats.Header) { b.denials.worked(subject) }
	b.js, err = jetstream.NewWithAPIPrefix(b.nc, prefix, jetstream.WithClientTrace(&jetstream.ClientTrace{ResponseReceived: answered}))
	return err
}

// Open connects to NATS, or starts the embedded server and connects to it. It waits for the server until ctx ends.
func Open(ctx context.Context, o Options) (*Bus, error) {
	b := &Bus{denials: newDenials(), retried: o.Retried, clock: newClock(o)}
	o.denials = b.denials
	if b.retried == nil {
		b.retried = func() {}
	}
	if err := b.open(ctx, o); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

func (b *Bus) open(ctx context.Context, o Options) (err error) {
	if o.Embedded() {
		if b.embedded, err = startEmbedded(o); err != nil {
			return err
		}
		b.nc, err = b.embedded.connect(ctx, o)
	} else {
		b.nc, err = Connect(ctx, o)
	}
	if err != nil {
		return err
	}
	if err := CheckVersion(b.nc.ConnectedServerVersion()); err != nil {
		return err
	}
	return b.use(o)
}

// CheckVersion returns an [ErrServerTooOld] for a server older than [MinServerVersion]. It compares the numbers before
// any pre-release suffix.
func CheckVersion(version string) error {
	have, ok := versionNumbers(version)
	want, _ := versionNumbers(MinServerVersion)
	if !ok {
		return fmt.Errorf("%w: it calls itself %q, want %s or newer", ErrServerTooOld, version, MinServerVersion)
	}
	for i := range want {
		if have[i] > want[i] {
			return nil
		}
		if have[i] < want[i] {
			return fmt.Errorf("%w: it is %s, want %s or newer", ErrServerTooOld, version, MinServerVersion)
		}
	}
	return nil
}

func versionNumbers(version string) (n [3]int, ok bool) {
	version, _, _ = strings.Cut(strings.TrimPrefix(version, "v"), "-")
	parts := strings.Split(version, ".")
	if len(parts) != len(n) {
		return n, false
	}
	for i, p := range parts {
		v, err := strconv.Atoi(p)
		if err != nil {
			return n, false
		}
		n[i] = v
	}
	return n, true
}

// Conn returns the connection, for plain subscriptions and replies.
func (b *Bus) Conn() *nats.Conn { return b.nc }

// JetStream returns the JetStream client, for consumers.
func (b *Bus) JetStream() jetstream.JetStream { return b.js }

// API returns the subject of a call of JetStream's API, such as STREAM.INFO.ORDERS.
func (b *Bus) API(name string) string { return b.js.Options().APIPrefix + name }

// Connected reports whether the server can be reached now.
func (b *Bus) Connected() bool { return b.nc.IsConnected() }

// Reconnections counts how often the connection was lost and stands again.
func (b *Bus) Reconnections() uint64 { return b.nc.Stats().Reconnects }

// MaxPayload is the largest message the server takes, in bytes, headers included.
func (b *Bus) MaxPayload() int64 { return b.nc.MaxPayload() }

// URL is where other programs on this machine reach the server.
func (b *Bus) URL() string {
	if b.embedded != nil {
		return b.embedded.current().ClientURL()
	}
	return b.nc.ConnectedUrlRedacted()
}

// Flush returns once the server has read all that was sent, subscriptions too, at most 5 s later.
func (b *Bus) Flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	if err := b.nc.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("flush to the NATS server: %w", err)
	}
	return nil
}

// Close closes the connection and stops the embedded server, waiting until both are gone. It may be called twice.
// Whoever still uses the bus gets [nats.ErrConnectionClosed].
func (b *Bus) Close() {
	b.closing.Do(func() {
		if b.nc != nil {
			if b.nc.IsConnected() {
				_ = b.nc.FlushTimeout(closingFlush) // acks that nobody waits for
			}
			b.nc.Close()
		}
		if b.embedded != nil {
			b.embedded.stop()
		}
	})
}
