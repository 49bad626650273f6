package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
)

// Connect connects to the NATS system that o names and returns once it is reached or ctx ends. The variables mean what
// they mean to the nats command line: User without Password is a token, Context names a saved context.
func Connect(ctx context.Context, o Options) (*nats.Conn, error) {
	url, opts, err := dialOptions(o)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	if !nc.IsConnected() {
		o.logger().InfoContext(ctx, "waiting for NATS", o.servers())
	}
	if err := waitConnected(ctx, nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}

// ConnectNow is [Connect] for a person who waits: each server is tried once, and the error is what the last of them said. A
// connection that is lost afterwards is made again. What more says wins over o.
func ConnectNow(ctx context.Context, o Options, more ...nats.Option) (*nats.Conn, error) {
	url, opts, err := dialOptions(o)
	if err != nil {
		return nil, err
	}
	opts = append(append(opts, nats.RetryOnFailedConnect(false)), more...)
	if deadline, ok := ctx.Deadline(); ok {
		opts = append(opts, nats.Timeout(time.Until(deadline)))
	}
	nc, err := nats.Connect(url, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to NATS: %w", err)
	}
	return nc, nil
}

// TryConnect is [Connect] for a person who waits: each server is tried once, for up to timeout, and the error is what
// the last of them said. A connection that is lost afterwards stays lost.
func TryConnect(o Options, timeout time.Duration) (*nats.Conn, error) {
	url, opts, err := dialOptions(o)
	if err != nil {
		return nil, err
	}
	opts = append(opts, nats.RetryOnFailedConnect(false), nats.NoReconnect(), nats.Timeout(timeout))
	return nats.Connect(url, opts...)
}

// waitConnected blocks until the first connection stands: with RetryOnFailedConnect, nats.Connect returns before.
func waitConnected(ctx context.Context, nc *nats.Conn) error {
	changes := nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	defer nc.RemoveStatusListener(changes)
	for {
		switch nc.Status() {
		case nats.CONNECTED:
			return nil
		case nats.CLOSED:
			return errors.Join(nats.ErrConnectionClosed, nc.LastError())
		}
		select {
		case <-ctx.Done():
			if err := nc.LastError(); err != nil {
				return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
			}
			return context.Cause(ctx)
		case <-changes:
		}
	}
}

func dialOptions(o Options) (url string, opts []nats.Option, err error) {
	opts = slices.Concat(commonOptions(o), credentialOptions(o), o.clientOptions())
	if o.Context == "" {
		return o.URL, opts, nil
	}
	saved, err := natscontext.New(o.Context, true)
	if err != nil {
		return "", nil, fmt.Errorf("NATS context %q: %w", o.Context, err)
	}
	opts, err = saved.NATSOptions(opts...)
	if err != nil {
		return "", nil, fmt.Errorf("NATS context %q: %w", o.Context, err)
	}
	if o.URL != "" {
		return o.URL, opts, nil
	}
	return saved.ServerURL(), opts, nil
}

// commonOptions are the same for every connection. The reconnect buffer is off because what it holds back is stored
// later although its publisher was told that it failed; reconnecting never ends because replicas outlive outages.
func commonOptions(o Options) []nats.Option {
	log := o.logger()
	return []nats.Option{
		nats.Name(o.name()),
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // credentials are rotated, and the second refusal would close for good
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(250*time.Millisecond, 250*time.Millisecond),
		nats.PingInterval(10 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.DisconnectErrHandler(func(nc *nats.Conn, err error) {
			if err != nil && !nc.IsClosed() {
				log.Warn("NATS disconnected", o.servers(), slog.Any("err", err))
			}
		}),
		nats.ReconnectHandler(func(nc *nats.Conn) {
			o.denials.clear() // what is still denied is denied again
			log.Info("NATS reconnected", slog.String("server", nc.ConnectedServerName()))
		}),
		nats.ReconnectErrHandler(rarely(func(_ *nats.Conn, err error) {
			log.Warn("NATS can't be reached", o.servers(), slog.Any("err", err))
		})),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) && !o.denials.note(err) {
				return // it was told before
			}
			attrs := []any{slog.Any("err", err)}
			if sub != nil {
				attrs = append(attrs, slog.String("subject", sub.Subject))
			}
			log.Warn("NATS connection error", attrs...)
		}),
	}
}

// rarely passes on the first call, and then one every while: a server may be away for hours.
func rarely(f func(*nats.Conn, error)) func(*nats.Conn, error) {
	const while = 30 * time.Second
	var last atomic.Int64
	return func(nc *nats.Conn, err error) {
		now := time.Now().UnixNano()
		if before := last.Load(); (before == 0 || now-before >= int64(while)) && last.CompareAndSwap(before, now) {
			f(nc, err)
		}
	}
}

// clientOptions are what the variables add to a context, and win over it.
func (o Options) clientOptions() []nats.Option {
	var opts []nats.Option
	if o.TLSFirst {
		opts = append(opts, nats.TLSHandshakeFirst())
	}
	if o.InboxPrefix != "" {
		opts = append(opts, nats.CustomInboxPrefix(o.InboxPrefix))
	}
	return opts
}

func credentialOptions(o Options) []nats.Option {
	var opts []nats.Option
	switch {
	case o.User != "" && o.Password == "":
		opts = append(opts, nats.Token(o.User))
	case o.User != "":
		opts = append(opts, nats.UserInfo(o.User, o.Password))
	}
	if o.Token != "" {
		opts = append(opts, nats.Token(o.Token))
	}
	if o.Creds != "" {
		opts = append(opts, nats.UserCredentials(o.Creds))
	}
	if o.NKey != "" {
		opts = append(opts, nkeyOption(o.NKey))
	}
	if o.CA != "" {
		opts = append(opts, nats.RootCAs(o.CA))
	}
	if o.Cert != "" {
		opts = append(opts, nats.ClientCert(o.Cert, o.Key))
	}
	return opts
}

// nkeyOption defers reading the seed file to the time of connecting, where its error is reported.
func nkeyOption(path string) nats.Option {
	return func(opts *nats.Options) error {
		opt, err := nats.NkeyOptionFromSeed(path)
		if err != nil {
			return err
		}
		return opt(opts)
	}
}
