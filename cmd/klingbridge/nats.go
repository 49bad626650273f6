package main

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
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
		EmbeddedAddr: s.EmbeddedAddr,
		DataDir:      s.DataDir,
		Logger:       s.log,
	}
}

// connect reaches the NATS system that the bridge uses. Where none is named, that is the server embedded in a bridge on
// this machine.
func connect(ctx context.Context, s settings) (*nats.Conn, error) {
	opts := busOptions(s)
	if opts.Embedded() {
		opts.URL = "nats://" + s.EmbeddedAddr
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTimeout, fmt.Errorf("no answer within %s", connectTimeout))
	defer cancel()
	nc, err := bus.Connect(ctx, opts)
	if err == nil {
		return nc, nil
	}
	where := "context " + opts.Context
	if opts.URL != "" {
		where = withoutLogins(opts.URL)
	}
	if s.Embedded() {
		return nil, fmt.Errorf("no NATS at %s; start a bridge with \"klingbridge dev\" or set NATS_URL: %w", where, err)
	}
	return nil, fmt.Errorf("no NATS at %s; is the server up, and are the NATS_* variables right? %w", where, err)
}

// withoutLogins removes users, passwords and tokens from a list of server URLs.
func withoutLogins(servers string) string {
	list := strings.Split(servers, ",")
	for i, server := range list {
		server = strings.TrimSpace(server)
		if u, err := url.Parse(server); err == nil && u.User != nil {
			u.User = nil
			server = u.String()
		}
		list[i] = server[strings.LastIndex(server, "@")+1:] // a bare user:password@host is no URL
	}
	return strings.Join(list, ",")
}
