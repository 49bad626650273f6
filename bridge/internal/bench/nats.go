package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const natsCommand = "nats"

// serveNATS runs a NATS server with JetStream as a process of its own, so that what it uses counts for neither side.
func serveNATS(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet(natsCommand, flag.ContinueOnError)
	dir := flags.String("dir", "", "store")
	if err := flags.Parse(args); err != nil {
		return err
	}
	srv, err := runServer(server.Options{StoreDir: *dir})
	if err != nil {
		return err
	}
	fmt.Println(srv.ClientURL())
	<-ctx.Done()
	srv.Shutdown()
	srv.WaitForShutdown()
	return nil
}

// serverStart bounds the recovery of a large store.
const serverStart = 2 * time.Minute

// runServer runs a NATS server with JetStream on a free port.
func runServer(o server.Options) (*server.Server, error) {
	o.Host, o.Port, o.JetStream, o.NoSigs, o.NoLog = "127.0.0.1", server.RANDOM_PORT, true, true, true
	srv, err := server.NewServer(&o)
	if err != nil {
		return nil, err
	}
	srv.Start()
	if !srv.ReadyForConnections(serverStart) {
		srv.Shutdown()
		return nil, errors.New("the NATS server is not ready")
	}
	return srv, nil
}

// natsServer is such a process, with a connection to it.
type natsServer struct {
	*child
	*natsClient
	url string
}

// startNATS runs a server on a store of its own, or on that in dir.
func (b *bench) startNATS(ctx context.Context, dir string) (*natsServer, error) {
	if dir == "" {
		var err error
		if dir, err = b.subdir("nats"); err != nil {
			return nil, err
		}
	}
	c, url, err := b.startSelf(ctx, natsCommand, "-dir", dir)
	if err != nil {
		return nil, err
	}
	client, err := connect(url)
	if err != nil {
		c.stop()
		return nil, err
	}
	return &natsServer{child: c, natsClient: client, url: url}, nil
}

func (s *natsServer) stop() {
	s.close()
	s.child.stop()
}

// natsClient is a connection of the bench.
type natsClient struct {
	nc *nats.Conn
	js jetstream.JetStream
}

func connect(url string) (*natsClient, error) {
	nc, err := nats.Connect(url)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", url, err)
	}
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(4000))
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &natsClient{nc: nc, js: js}, nil
}

func (c *natsClient) close() { c.nc.Close() }

// publishAll stores n messages, many at a time, and returns when all are acknowledged.
func (c *natsClient) publishAll(ctx context.Context, n int, message func(i int) *nats.Msg) error {
	var unsettled []jetstream.PubAckFuture
	settle := func() error {
		for _, f := range unsettled {
			select {
			case <-f.Ok():
			case err := <-f.Err():
				return fmt.Errorf("publish %s: %w", f.Msg().Subject, err)
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		unsettled = unsettled[:0]
		return nil
	}
	for i := range n {
		f, err := c.js.PublishMsgAsync(message(i))
		if err != nil {
			return err
		}
		if unsettled = append(unsettled, f); len(unsettled) == 2000 {
			if err := settle(); err != nil {
				return err
			}
		}
	}
	return settle()
}

// empty reports whether a stream holds nothing.
func (c *natsClient) empty(ctx context.Context, stream string) (bool, error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return false, err
	}
	return s.CachedInfo().State.Msgs == 0, nil
}

// lastSequence is that of the newest message which a stream has stored.
func (c *natsClient) lastSequence(ctx context.Context, stream string) (uint64, error) {
	s, err := c.js.Stream(ctx, stream)
	if err != nil {
		return 0, err
	}
	return s.CachedInfo().State.LastSeq, nil
}

// arrivals notes when plain subscribers get messages.
type arrivals struct {
	sub   *nats.Subscription
	times chan time.Time
}

// watch counts from now on what comes on subject.
func (c *natsClient) watch(subject string) (*arrivals, error) {
	const backlog = 1 << 20 // more than any round has
	a := &arrivals{times: make(chan time.Time, backlog)}
	var err error
	a.sub, err = c.nc.Subscribe(subject, func(*nats.Msg) { a.times <- time.Now() })
	if err != nil {
		return nil, err
	}
	if err := a.sub.SetPendingLimits(-1, -1); err != nil {
		return nil, err
	}
	return a, c.nc.Flush()
}

// await returns when the n-th of the next messages has come.
func (a *arrivals) await(ctx context.Context, n int) (at time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i := range n {
		select {
		case at = <-a.times:
		case <-ctx.Done():
			return at, fmt.Errorf("%d of %d messages came on %s: %w", i, n, a.sub.Subject, ctx.Err())
		}
	}
	return at, nil
}
