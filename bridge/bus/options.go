package bus

import (
	"log/slog"
	"net/url"
	"strings"
	"time"
)

// Options says which NATS system to use.
type Options struct {
	// URL of the NATS system, comma-separated for several servers. When URL and Context are both empty an embedded
	// server with JetStream is run.
	URL      string
	Creds    string // path of a credentials file
	NKey     string // path of an nkey seed file
	User     string // user name, or a token when Password is empty
	Password string
	Token    string
	CA       string // path of a PEM file
	Cert     string // path of a PEM file
	Key      string // path of a PEM file
	Context  string // name of a context of the nats command line

	JSDomain    string // JetStream domain; empty: the context's, or else that of the server
	JSAPIPrefix string // in place of $JS.API, where an account imports the API under another name; not with JSDomain
	TLSFirst    bool   // the server wants the TLS handshake before it says anything
	InboxPrefix string // of the subjects that answers come to; empty: the context's, or else _INBOX

	Name string // of the connection, shown in the server's lists; empty: klingbridge

	EmbeddedAddr string // host:port of the embedded server; port 0: any free one; empty: 127.0.0.1:4222
	DataDir      string // its store; locked while in use; empty: ./data

	Logger  *slog.Logger     // nil: slog.Default
	Now     func() time.Time // this machine's clock; nil: time.Now
	Retried func()           // called from any goroutine for each publish that has to be tried again; nil: nobody is told

	denials *denials // what the server has refused this connection; nil: nobody asks
}

// Embedded reports whether these options run a server in this process.
func (o Options) Embedded() bool { return o.URL == "" && o.Context == "" }

// Where names the NATS system without a secret.
func (o Options) Where() string {
	switch {
	case o.URL != "":
		return withoutLogins(o.URL)
	case o.Context != "":
		return "context " + o.Context
	default:
		return "embedded"
	}
}

// servers is [Options.Where] for a line of the log.
func (o Options) servers() slog.Attr { return slog.String("servers", o.Where()) }

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

func (o Options) name() string {
	if o.Name == "" {
		return "klingbridge"
	}
	return o.Name
}

func (o Options) logger() *slog.Logger {
	if o.Logger == nil {
		return slog.Default()
	}
	return o.Logger
}
