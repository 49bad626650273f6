package bustest

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
)

// Config gives a server the accounts, users, TLS and JetStream limits of a server's configuration file with this text.
func Config(tb testing.TB, text string) func(*server.Options) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "server.conf")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	parsed, err := server.ProcessConfigFile(path)
	if err != nil {
		tb.Fatalf("configuration %s: %v", text, err)
	}
	return func(o *server.Options) {
		o.Accounts, o.Users, o.SystemAccount, o.NoAuthUser = parsed.Accounts, parsed.Users, parsed.SystemAccount, parsed.NoAuthUser
		o.TLSConfig, o.TLSHandshakeFirst, o.TLSTimeout = parsed.TLSConfig, parsed.TLSHandshakeFirst, parsed.TLSTimeout
		o.JetStreamLimits = parsed.JetStreamLimits
	}
}

// Reload changes the options of the running server, as a signal makes it read its configuration file again: connections
// stay.
func (s *Server) Reload(change ...func(*server.Options)) {
	s.tb.Helper()
	for _, f := range change {
		f(s.opts)
	}
	if err := s.srv.ReloadOptions(s.opts.Clone()); err != nil {
		s.tb.Fatalf("reload NATS server %s: %v", s.opts.ServerName, err)
	}
}

// StartLeaf runs a server with JetStream in the domain hub, and one with a JetStream of its own, in the domain leaf, that
// is connected to it as a leaf node. The options of both may be changed first.
func StartLeaf(tb testing.TB, change ...func(*server.Options)) (hub, leaf *Server) {
	tb.Helper()
	host, port := freeHostPort(tb)
	hub = Start(tb, append(change, func(o *server.Options) {
		o.ServerName, o.JetStreamDomain = "hub", "hub"
		o.LeafNode.Host, o.LeafNode.Port = host, port
	})...)
	remote := &url.URL{Scheme: "nats-leaf", Host: net.JoinHostPort(host, strconv.Itoa(port))}
	leaf = Start(tb, append(change, func(o *server.Options) {
		o.ServerName, o.JetStreamDomain = "leaf", "leaf"
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{remote}}}
	})...)
	return hub, leaf
}
