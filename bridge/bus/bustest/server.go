// Package bustest runs real NATS servers with JetStream in a test's process: one alone, or a cluster of three.
package bustest

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// startTimeout bounds the start of a server or the first election of a cluster, which may take several rounds.
const startTimeout = 2 * time.Minute

// Server is one running NATS server.
type Server struct {
	tb      testing.TB
	opts    *server.Options
	srv     *server.Server
	trouble *trouble
}

// Start runs a server on a free port of the loopback interface until the test ends. Its options may be changed first.
func Start(tb testing.TB, change ...func(*server.Options)) *Server {
	tb.Helper()
	s := &Server{tb: tb, opts: options(tb, "single")}
	for _, f := range change {
		f(s.opts)
	}
	s.run()
	tb.Cleanup(s.Stop)
	return s
}

func options(tb testing.TB, name string) *server.Options {
	host, port := freeHostPort(tb)
	return &server.Options{
		ServerName: name,
		Host:       host,
		Port:       port,
		JetStream:  true,
		StoreDir:   tb.TempDir(),
		NoSigs:     true,
	}
}

func (s *Server) run() {
	s.tb.Helper()
	srv, err := server.NewServer(s.opts.Clone())
	if err != nil {
		s.tb.Fatalf("NATS server %s: %v", s.opts.ServerName, err)
	}
	s.start(srv)
	s.waitReady()
}

func (s *Server) start(srv *server.Server) {
	s.trouble = &trouble{}
	srv.SetLoggerV2(s.trouble, false, false, false)
	srv.Start()
	s.srv = srv
}

func (s *Server) waitReady() {
	s.tb.Helper()
	if !s.srv.ReadyForConnections(startTimeout) {
		s.tb.Fatalf("NATS server %s is not ready: %s", s.opts.ServerName, s.trouble)
	}
}

// URL is where clients connect. It stays the same over restarts.
func (s *Server) URL() string {
	return "nats://" + net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.Port))
}

// Name is the server's name in its cluster.
func (s *Server) Name() string { return s.opts.ServerName }

// Stop stops the server and waits for it. It may be called twice.
func (s *Server) Stop() {
	if s.srv == nil {
		return
	}
	s.srv.Shutdown()
	s.srv.WaitForShutdown()
	s.srv = nil
}

// Restart runs the server again on the same port and store.
func (s *Server) Restart() {
	s.tb.Helper()
	s.Stop()
	s.run()
}

// RestartEmpty runs the server again on the same port, on a store that holds nothing.
func (s *Server) RestartEmpty() {
	s.tb.Helper()
	s.Stop()
	s.opts.StoreDir = s.tb.TempDir()
	s.run()
}

// Connect returns a connection that ends with the test.
func (s *Server) Connect() *nats.Conn {
	s.tb.Helper()
	nc, err := nats.Connect(s.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		s.tb.Fatalf("connect to %s: %v", s.URL(), err)
	}
	s.tb.Cleanup(nc.Close)
	return nc
}

// Cluster is three servers that replicate streams among themselves.
type Cluster struct {
	Servers []*Server
}

// StartCluster runs three servers until the test ends and returns once JetStream has a leader. Their options may be changed
// first; a client without a name must be able to create streams then, too.
func StartCluster(tb testing.TB, change ...func(*server.Options)) *Cluster {
	tb.Helper()
	c := &Cluster{}
	var routes []string
	for i := range 3 {
		s := &Server{tb: tb, opts: options(tb, fmt.Sprintf("n%d", i))}
		host, port := freeHostPort(tb)
		s.opts.Cluster = server.ClusterOpts{Name: "test", Host: host, Port: port}
		routes = append(routes, "nats://"+net.JoinHostPort(host, strconv.Itoa(port)))
		c.Servers = append(c.Servers, s)
	}
	for _, s := range c.Servers {
		s.opts.Routes = server.RoutesFromStr(strings.Join(routes, ","))
		for _, f := range change {
			f(s.opts)
		}
		srv, err := server.NewServer(s.opts.Clone())
		if err != nil {
			tb.Fatalf("NATS server %s: %v", s.opts.ServerName, err)
		}
		s.start(srv)
		tb.Cleanup(s.Stop)
	}
	c.waitForLeader(tb)
	return c
}

// waitForLeader returns when a replicated stream can be created.
func (c *Cluster) waitForLeader(tb testing.TB) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), startTimeout)
	defer cancel()
	for _, s := range c.Servers {
		s.waitReady()
	}
	js, err := jetstream.New(c.Servers[0].Connect())
	if err != nil {
		tb.Fatal(err)
	}
	probe := jetstream.StreamConfig{Name: "PROBE", Subjects: []string{"probe"}, Replicas: len(c.Servers)}
	for {
		if err = createWithin(ctx, time.Second, js, probe); err == nil {
			break
		}
		if ctx.Err() != nil {
			tb.Fatalf("no JetStream leader: %v", err)
		}
	}
	if err := js.DeleteStream(ctx, probe.Name); err != nil {
		tb.Fatal(err)
	}
}

// createWithin gives up soon: without a leader nobody answers.
func createWithin(ctx context.Context, d time.Duration, js jetstream.JetStream, config jetstream.StreamConfig) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_, err := js.CreateStream(ctx, config)
	return err
}

// URL names all servers.
func (c *Cluster) URL() string {
	var urls []string
	for _, s := range c.Servers {
		urls = append(urls, s.URL())
	}
	return strings.Join(urls, ",")
}

// Leader returns the server that leads a stream.
func (c *Cluster) Leader(ctx context.Context, tb testing.TB, stream string) *Server {
	tb.Helper()
	nc, err := nats.Connect(c.URL())
	if err != nil {
		tb.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		tb.Fatal(err)
	}
	s, err := js.Stream(ctx, stream)
	if err != nil {
		tb.Fatal(err)
	}
	for _, srv := range c.Servers {
		if srv.Name() == s.CachedInfo().Cluster.Leader {
			return srv
		}
	}
	tb.Fatalf("stream %s has no leader", stream)
	return nil
}
