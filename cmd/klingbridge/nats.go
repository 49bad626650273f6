package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/config"
	"github.com/klingbridge/klingbridge/events"
)

// connectTimeout is how long a command other than serve waits for NATS: a person is waiting with it.
const connectTimeout = 5 * time.Second

func busOptions(s settings) bus.Options {
	return bus.Options{
		URL:          s.NATSURL.Reveal(),
		Creds:        s.NATSCreds,
		NKey:         s.NATSNKey,
		User:         s.NATSUser.Reveal(),
		Password:     s.NATSPassword.Reveal(),
		Token:        s.NATSToken.Reveal(),
		CA:           s.NATSCA,
		Cert:         s.NATSCert,
		Key:          s.NATSKey,
		Context:      s.NATSContext,
		JSDomain:     s.NATSJSDomain,
		JSAPIPrefix:  s.NATSJSAPIPrefix,
		TLSFirst:     s.NATSTLSFirst,
		InboxPrefix:  s.NATSInboxPrefix,
		EmbeddedAddr: s.EmbeddedAddr,
		DataDir:      s.DataDir,
		Logger:       s.log,
	}
}

// natsOptions say how clients reach the NATS system that the bridge uses. Where none is named, that is the server
// embedded in a bridge on this machine.
func natsOptions(s settings) bus.Options {
	opts := busOptions(s)
	if opts.Embedded() {
		opts.URL = "nats://" + s.EmbeddedAddr
	}
	return opts
}

// link is a connection to the NATS system that the bridge uses, and to the JetStream there that it uses.
type link struct {
	*nats.Conn
	js     jetstream.JetStream
	client *events.Client
}

func newLink(nc *nats.Conn, o bus.Options, s settings) (*link, error) {
	js, err := bus.NewJetStream(nc, o)
	if err != nil {
		nc.Close()
		return nil, err
	}
	client, err := events.NewClientFor(js, s.subjects)
	if err != nil {
		nc.Close()
		return nil, err
	}
	return &link{Conn: nc, js: js, client: client}, nil
}

// connect reaches the NATS system that the bridge uses. It does not wait for a server that is not up.
func connect(ctx context.Context, s settings, more ...nats.Option) (*link, error) {
	embedded := busOptions(s).Embedded()
	if embedded && portUnknown(s.EmbeddedAddr) {
		return nil, config.Faults{{
			Variable: "BRIDGE_EMBEDDED_ADDR", Problem: "the embedded server's port is not known; set NATS_URL",
		}}
	}
	opts := natsOptions(s)
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer within %s", connectTimeout))
	defer cancel()
	err := refusal(ctx, opts.URL)
	if err == nil {
		var nc *nats.Conn
		if nc, err = bus.ConnectNow(ctx, opts, more...); err == nil {
			return newLink(nc, opts, s)
		}
	}
	if credentialsRefused(err) {
		return nil, refusedLogin(s, err)
	}
	if embedded {
		return nil, fmt.Errorf("no NATS at %s; start a bridge with \"klingbridge dev\" or set NATS_URL: %w",
			opts.Where(), err)
	}
	return nil, fmt.Errorf("no NATS at %s; is the server up, and are the NATS_* variables right? %w",
		opts.Where(), err)
}

func refusedLogin(s settings, err error) error {
	return fmt.Errorf("NATS at %s refuses the credentials; are NATS_CREDS, NATS_NKEY, NATS_USER, NATS_PASSWORD and NATS_TOKEN right? %w",
		natsOptions(s).Where(), err)
}

func credentialsRefused(err error) bool {
	for _, target := range []error{nats.ErrAuthorization, nats.ErrAuthExpired, nats.ErrAuthRevoked, nats.ErrAccountAuthExpired} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

// portUnknown reports whether an address leaves the port to the system.
func portUnknown(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	return err == nil && (port == "0" || port == "-1")
}

// refusal returns an error when every server of the list refuses connections: the NATS client would try them again and
// again, which is right for a bridge and makes a person wait. Any other trouble is left to the client.
func refusal(ctx context.Context, servers string) error {
	var errs []error
	for server := range strings.SplitSeq(servers, ",") {
		addr, ok := dialAddr(strings.TrimSpace(server))
		if !ok {
			return nil
		}
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			return conn.Close()
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// dialAddr returns the host and port of a server URL, whose scheme and port may be left out.
func dialAddr(server string) (addr string, ok bool) {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	u, err := url.Parse(server)
	if err != nil || u.Hostname() == "" {
		return "", false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"ws": "80", "wss": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), cmp.Or(port, strconv.Itoa(nats.DefaultPort))), true
}
