package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/jsm.go/natscontext"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errDomainAndPrefix is returned where both name the JetStream to use: they could disagree.
var errDomainAndPrefix = errors.New("both a JetStream domain and an API prefix are set: only one of them can be used")

// NewJetStream returns the JetStream client of a connection that was made with these options: in the domain or under the
// API prefix that they or their context name. Every part of the program that uses JetStream gets it here, else streams
// would be looked for in the domain of the server that happens to be connected.
func NewJetStream(nc *nats.Conn, o Options) (jetstream.JetStream, error) {
	prefix, err := o.apiPrefix()
	if err != nil {
		return nil, err
	}
	return jetstream.NewWithAPIPrefix(nc, prefix)
}

// apiPrefix is what the subjects of JetStream's API begin with, its last dot included.
func (o Options) apiPrefix() (string, error) {
	domain, prefix := o.JSDomain, o.JSAPIPrefix
	if o.Context != "" && domain == "" && prefix == "" {
		saved, err := natscontext.New(o.Context, true)
		if err != nil {
			return "", fmt.Errorf("NATS context %q: %w", o.Context, err)
		}
		if domain, prefix = saved.JSDomain(), saved.JSAPIPrefix(); domain != "" && prefix != "" {
			return "", fmt.Errorf("NATS context %q: %w", o.Context, errDomainAndPrefix)
		}
	}
	switch {
	case domain != "" && prefix != "":
		return "", errDomainAndPrefix
	case domain != "":
		return "$JS." + domain + ".API.", nil
	case prefix != "":
		return strings.TrimSuffix(prefix, ".") + ".", nil
	default:
		return jetstream.DefaultAPIPrefix, nil
	}
}
