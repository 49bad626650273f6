package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// EmbeddedName is what the embedded server calls itself.
const EmbeddedName = "klingbridge"

const (
	defaultEmbeddedAddr = "127.0.0.1:4222"
	defaultDataDir      = "data"
	// embeddedStart bounds recovery of the store at start; a million stored messages take a few seconds.
	embeddedStart = 2 * time.Minute
)

// embedded is a NATS server with JetStream in this process.
type embedded struct {
	options server.Options
	logger  *slog.Logger
	dir     string
	lock    *flock.Flock

	mu     sync.Mutex
	server *server.Server // replaced by a restart
}

func (e *embedded) current() *server.Server {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.server
}

// InProcessConn connects to the server that runs now.
func (e *embedded) InProcessConn() (net.Conn, error) { return e.current().InProcessConn() }

// startEmbedded runs a server on o.EmbeddedAddr with its store in o.DataDir. Every acknowledged write is synced to disk.
func startEmbedded(o Options) (*embedded, error) {
	addr, dir := o.EmbeddedAddr, o.DataDir
	if addr == "" {
		addr = defaultEmbeddedAddr
	}
	if dir == "" {
		dir = defaultDataDir
	}
	host, port, err := splitAddr(addr)
	if err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	e := &embedded{
		options: server.Options{
			ServerName:      EmbeddedName,
			Host:            host,
			Port:            port,
			JetStream:       true,
			JetStreamDomain: o.JSDomain,
			StoreDir:        filepath.Join(dir, "nats"),
			SyncAlways:      true,
			NoSigs:          true,
		},
		logger: o.logger().With(slog.String("component", "nats-server")),
		dir:    dir,
		lock:   lock,
	}
	if err := e.start(); err != nil {
		unlock(lock)
		return nil, fmt.Errorf("embedded NATS server on %s: %w", addr, err)
	}
	return e, nil
}

// start runs a server and waits until it is ready.
func (e *embedded) start() error {
	options := e.options // of its own: the server changes them
	srv, err := server.NewServer(&options)
	if err != nil {
		return err
	}
	logger := &serverLog{log: e.logger}
	srv.SetLoggerV2(logger, false, false, false)
	srv.Start()
	if err := waitReady(srv, logger); err != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.server = srv
	return nil
}

// restart replaces a server whose store takes nothing any more: an error of a write sticks to it until it is started anew.
// The store stays, and so does the address.
func (e *embedded) restart() error {
	old := e.current()
	if addr, ok := old.Addr().(*net.TCPAddr); ok {
		e.options.Port = addr.Port
	}
	old.Shutdown()
	old.WaitForShutdown()
	return e.start()
}

// waitReady waits for a server, but no longer than it lives.
func waitReady(srv *server.Server, logger *serverLog) error {
	const step = 50 * time.Millisecond
	for range embeddedStart / step {
		if srv.ReadyForConnections(step) {
			return nil
		}
		if fatal := logger.fatal.Load(); fatal != nil {
			return errors.New(*fatal)
		}
	}
	return fmt.Errorf("not ready after %s", embeddedStart)
}

func splitAddr(addr string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, fmt.Errorf("embedded NATS address: %w", err)
	}
	port, err = strconv.Atoi(p)
	if err != nil {
		return "", 0, fmt.Errorf("embedded NATS address %q: %w", addr, err)
	}
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, nil
}

// lockDir keeps two processes off one store, which would destroy it.
func lockDir(dir string) (*flock.Flock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "lock"))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory %s: %w", dir, err)
	}
	if !ok {
		return nil, fmt.Errorf("data directory %s is in use by another klingbridge", dir)
	}
	return lock, nil
}

func unlock(lock *flock.Flock) {
	_ = lock.Unlock() // the lock goes with the process in any case
}

func (e *embedded) stop() {
	srv := e.current()
	srv.Shutdown()
	srv.WaitForShutdown()
	unlock(e.lock)
}

// connect returns a connection that needs no socket.
func (e *embedded) connect(ctx context.Context, o Options) (*nats.Conn, error) {
	nc, err := nats.Connect("", append(commonOptions(o), nats.InProcessServer(e))...)
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	if err := waitConnected(ctx, nc); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	return nc, nil
}
