package listener

import (
	"cmp"
	"container/list"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Limits bounds the connections to the callback listener, which anybody may open. A connection has proven itself once a
// request with a signed URL has come on it whole; until then its sender is a stranger.
type Limits struct {
	// Total is how many are open at a time; zero: 2048, or half of the files that the process may open if that is less. At
	// the limit the stranger that has been there for longest gives way to a new one; where all have proven themselves, the
	// one whose last proof is the oldest.
	Total int
	// PerAddress is how many strangers of one address there are at a time; zero: a quarter of Total. An address is one of
	// IPv4 or what a site has of IPv6, 64 bits. At the limit the oldest of that address gives way. All connections of a
	// proxy are of one address, which is why those that have proven themselves do not count.
	PerAddress int
	// GiveWayAfter is how long a connection is spared at least; zero: 500ms, in which a request comes from the other side
	// of the world. For as long an address may have more than PerAddress, and a new one may have to wait.
	GiveWayAfter time.Duration
	// ProveWithin is the time a connection has from its opening to its proof; zero: 10s, which is enough for a TLS
	// handshake, a request and its answer, each as slow as it may be.
	ProveWithin time.Duration
}

func (l Limits) withDefaults() Limits {
	const total = 2048
	l.Total = cmp.Or(l.Total, min(total, openFiles()/2))
	l.PerAddress = cmp.Or(l.PerAddress, max(l.Total/4, 1))
	l.GiveWayAfter = cmp.Or(l.GiveWayAfter, 500*time.Millisecond)
	l.ProveWithin = cmp.Or(l.ProveWithin, 10*time.Second)
	return l
}

// Listener is the callback listener and what is open on it.
type Listener struct {
	net.Listener
	limits Limits
	log    *slog.Logger
	closed chan struct{}
	close  func()        // may be called twice
	left   chan struct{} // is signalled when somebody has

	mu        sync.Mutex
	strangers list.List // of *Caller, in the order in which they came
	proven    list.List // of *Caller, in the order of their last proofs
	bySite    map[netip.Addr]int
	gaveWay   int // strangers, since the last warning
	warnedAt  time.Time
}

// New keeps the connections of a listener within limits. What is zero of them has its default.
func New(l net.Listener, limits Limits, log *slog.Logger) *Listener {
	closed := make(chan struct{})
	return &Listener{
		Listener: l, limits: limits.withDefaults(), log: log, bySite: map[netip.Addr]int{},
		closed: closed, close: sync.OnceFunc(func() { close(closed) }), left: make(chan struct{}, 1),
	}
}

// Caller is one connection.
type Caller struct {
	net.Conn
	all  *Listener
	site netip.Addr

	// Guarded by Listener.mu.
	place   *list.Element // nil: closed
	proven  bool
	since   time.Time   // it came, or has proven itself last
	overdue *time.Timer // closes a stranger
}

// Accept implements [net.Listener]. Others give way to who comes.
func (cs *Listener) Accept() (net.Conn, error) {
	conn, err := cs.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &Caller{Conn: conn, all: cs, site: siteOf(conn.RemoteAddr())}
	for {
		wait := cs.add(c)
		if wait == 0 {
			return c, nil
		}
		select {
		case <-time.After(wait):
		case <-cs.left:
		case <-cs.closed:
			_ = conn.Close() // it was not served
			return nil, net.ErrClosed
		}
	}
}

// Close implements [net.Listener].
func (cs *Listener) Close() error {
	cs.close()
	return cs.Listener.Close()
}

// add lets a stranger in, or returns after how long there may be room.
func (cs *Listener) add(c *Caller) (wait time.Duration) {
	now := time.Now()
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.bySite[c.site] >= cs.limits.PerAddress {
		if oldest := cs.oldestOf(c.site); cs.spared(oldest, now) == 0 {
			cs.turnOut(oldest, now)
		}
	}
	if cs.strangers.Len()+cs.proven.Len() >= cs.limits.Total {
		oldest := cs.oldest()
		if wait := cs.spared(oldest, now); wait > 0 {
			return wait
		}
		cs.turnOut(oldest, now)
	}
	c.place, c.since = cs.strangers.PushBack(c), now
	cs.bySite[c.site]++
	c.overdue = time.AfterFunc(cs.limits.ProveWithin, c.expire)
	return 0
}

// spared returns for how long a caller does not give way yet.
func (cs *Listener) spared(c *Caller, now time.Time) time.Duration {
	return max(0, cs.limits.GiveWayAfter-now.Sub(c.since))
}

// oldest returns who is the first to give way.
func (cs *Listener) oldest() *Caller {
	if e := cs.strangers.Front(); e != nil {
		return e.Value.(*Caller)
	}
	return cs.proven.Front().Value.(*Caller)
}

// oldestOf returns the stranger of a site who has waited longest. There is one.
func (cs *Listener) oldestOf(site netip.Addr) *Caller {
	e := cs.strangers.Front()
	for e.Value.(*Caller).site != site {
		e = e.Next()
	}
	return e.Value.(*Caller)
}

// turnOut closes the connection of a caller who has to give way. An operator hears of it, at most once a minute.
func (cs *Listener) turnOut(c *Caller, now time.Time) {
	cs.forget(c)
	_ = c.Conn.Close() // its server will too
	cs.gaveWay++
	if now.Sub(cs.warnedAt) >= time.Minute {
		cs.log.Warn("callback connections give way to new ones", slog.Int("gave_way", cs.gaveWay),
			slog.String("remote_addr", c.RemoteAddr().String()), slog.Int("open", cs.strangers.Len()+cs.proven.Len()))
		cs.gaveWay, cs.warnedAt = 0, now
	}
}

// forget takes a caller who is known off the books.
func (cs *Listener) forget(c *Caller) {
	if c.proven {
		cs.proven.Remove(c.place)
	} else {
		cs.strangers.Remove(c.place)
		cs.noLongerStranger(c)
	}
	c.place = nil
	select {
	case cs.left <- struct{}{}:
	default:
	}
}

func (cs *Listener) noLongerStranger(c *Caller) {
	c.overdue.Stop()
	if cs.bySite[c.site]--; cs.bySite[c.site] == 0 {
		delete(cs.bySite, c.site)
	}
}

// expire closes the connection of somebody who is still a stranger.
func (c *Caller) expire() {
	if c.leave(func() bool { return !c.proven }) {
		_ = c.Conn.Close() // it is a stranger's
	}
}

// Close implements [net.Conn]. It may be called more than once, as that of any connection.
func (c *Caller) Close() error {
	if !c.leave(func() bool { return true }) {
		return net.ErrClosed
	}
	return c.Conn.Close()
}

// leave takes the caller off the books, if it is there and the condition holds, and reports whether it did.
func (c *Caller) leave(condition func() bool) bool {
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	if c.place == nil || !condition() {
		return false
	}
	c.all.forget(c)
	return true
}

// Prove notes that a request with a signed URL has come whole.
func (c *Caller) Prove() {
	if c == nil {
		return
	}
	cs := c.all
	cs.mu.Lock()
	defer cs.mu.Unlock()
	switch {
	case c.place == nil:
	case c.proven:
		cs.proven.MoveToBack(c.place)
	default:
		cs.strangers.Remove(c.place)
		cs.noLongerStranger(c)
		c.proven, c.place = true, cs.proven.PushBack(c)
	}
	c.since = time.Now()
}

// HasProven reports whether the caller is no stranger any more.
func (c *Caller) HasProven() bool {
	if c == nil {
		return false
	}
	c.all.mu.Lock()
	defer c.all.mu.Unlock()
	return c.proven
}

// siteOf is who an address stands for: of IPv6 a site has 64 bits to itself.
func siteOf(addr net.Addr) netip.Addr {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip
	}
	site, _ := ip.Prefix(64) // fits into any IPv6 address
	return site.Addr()
}

type callerKey struct{}

// WithCaller lets a handler know the caller.
func WithCaller(ctx context.Context, conn net.Conn) context.Context {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	return context.WithValue(ctx, callerKey{}, conn)
}

// CallerOf returns who sends a request, or nil on another listener than that for callbacks.
func CallerOf(ctx context.Context) *Caller {
	c, _ := ctx.Value(callerKey{}).(*Caller)
	return c
}
