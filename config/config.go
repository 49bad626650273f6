// Package config reads the environment into one struct and says everything that is wrong with it at once.
//
// The struct is the only list of variables: their defaults, their help and the table in README.md here come from its tags.
// What only other packages can judge (kinds, pools, the subject prefix) is kept as it was written; the command checks it
// and adds to the same report.
package config

import (
	"cmp"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/caarlos0/env/v11"
)

// Config holds every variable. A duration is written as Go writes it (90s, 5m, 720h) or in whole seconds, and is above
// zero. An empty variable counts as one that is not set. Secrets are trimmed of white space.
type Config struct {
	KlingAPIKey        Secret  `env:"KLING_API_KEY" help:"static key, sent as Bearer; or the pair below"`
	KlingAccessKey     Secret  `env:"KLING_ACCESS_KEY" help:"access key of a key pair, which signs a short-lived JWT (older API only)"`
	KlingSecretKey     Secret  `env:"KLING_SECRET_KEY" help:"secret key of that pair"`
	KlingBaseURL       string  `env:"KLING_BASE_URL" envDefault:"https://api-singapore.klingai.com" help:"Kling's API, with or without a trailing /v1; plain http only to loopback"`
	KlingWebhookSecret Secrets `env:"KLING_WEBHOOK_SECRET" help:"comma-separated whsec_… secrets; when set, every callback must carry a Standard Webhooks signature"`

	AccountNames AccountNames `env:"KLING_ACCOUNTS" help:"names of several accounts, in order of preference: main,burst; each has the variables below, its name in upper case with _ for -; empty: one, default, of those above"`
	AccountOrder string       `env:"BRIDGE_ACCOUNT_ORDER" envDefault:"prefer" help:"prefer: a request goes to the first account that has room; spread: to the one with the most room"`

	NATSURL      Secret `env:"NATS_URL" help:"NATS servers, comma-separated; empty: an embedded server with JetStream is run"`
	NATSCreds    string `env:"NATS_CREDS" help:"credentials file"`
	NATSNKey     string `env:"NATS_NKEY" help:"nkey seed file"`
	NATSUser     Secret `env:"NATS_USER" help:"user name, or a token when NATS_PASSWORD is empty"`
	NATSPassword Secret `env:"NATS_PASSWORD" help:"password of NATS_USER"`
	NATSToken    Secret `env:"NATS_TOKEN" help:"token"`
	NATSCA       string `env:"NATS_CA" help:"PEM file of the authorities that sign the servers' certificates"`
	NATSCert     string `env:"NATS_CERT" help:"PEM file of the client certificate"`
	NATSKey      string `env:"NATS_KEY" help:"PEM file of its key"`
	NATSContext  string `env:"NATS_CONTEXT" help:"name of a context of the nats command line; the variables above win over it"`

	NATSJSDomain    string `env:"NATS_JS_DOMAIN" help:"JetStream domain to keep everything in; empty: the context's, or else the server's own"`
	NATSJSAPIPrefix string `env:"NATS_JS_API_PREFIX" help:"what JetStream's API is called in place of $JS.API, where an account imports it from another one; not with NATS_JS_DOMAIN"`
	NATSTLSFirst    bool   `env:"NATS_TLS_FIRST" envDefault:"false" help:"begin with the TLS handshake, which the servers then have to expect (handshake_first)"`
	NATSInboxPrefix string `env:"NATS_INBOX_PREFIX" help:"what the subjects of answers begin with in place of _INBOX, for users who may not subscribe to all of that"`

	EmbeddedAddr   string        `env:"BRIDGE_EMBEDDED_ADDR" envDefault:"127.0.0.1:4222" help:"where the embedded server listens; port -1: any free one"`
	DataDir        string        `env:"BRIDGE_DATA_DIR" envDefault:"./data" help:"its store; every acknowledged write is synced to disk"`
	StreamReplicas int           `env:"BRIDGE_STREAM_REPLICAS" envDefault:"1" help:"replicas of every stream: 1, 3 or 5"`
	StreamMaxBytes StreamSizes   `env:"BRIDGE_STREAM_MAX_BYTES" help:"largest size of the streams, of the bucket for attachments and of an archive's: requests=256MiB,events=4GiB,dead=256MiB,settings=1MiB,inputs=1GiB,archive=10GiB; what is left out has none, or the one given here (the archive still none) where the account demands sizes"`
	SubjectPrefix  string        `env:"BRIDGE_SUBJECT_PREFIX" envDefault:"kling" help:"first tokens of every subject; streams have it in upper case"`
	EventRetention time.Duration `env:"BRIDGE_EVENT_RETENTION" envDefault:"720h" help:"how long events are kept, and a request id is known; Kling keeps results as long"`
	Namespace      string        `env:"BRIDGE_NAMESPACE" help:"keeps the tasks of deployments on one Kling account apart; empty: generated once, shared by all replicas"`

	ExtraKinds     string        `env:"BRIDGE_EXTRA_KINDS" help:"kinds to add: name=/v1/videos/new-thing:video,name2=/new-route/{model}:image,name3=/solutions/x:video"`
	Concurrency    Concurrency   `env:"BRIDGE_CONCURRENCY" help:"upper bound on tasks in flight per pool over all replicas: video=20,image=9; unset: Kling's own limit"`
	TaskTimeout    time.Duration `env:"BRIDGE_TASK_TIMEOUT" envDefault:"24h" help:"deadline of a request that names none, from when it was stored"`
	Retries        int           `env:"BRIDGE_RETRIES" envDefault:"0" help:"how often a task that Kling failed, for no fault of the request, is made again where the request does not say; 0 to 5, each costs"`
	MaxInlineBytes int64         `env:"BRIDGE_MAX_INLINE_BYTES" envDefault:"52428800" help:"most bytes that the nats-object:// inputs of one request may have together"`
	InputBuckets   Buckets       `env:"BRIDGE_INPUT_BUCKETS" envDefault:"*" help:"buckets that nats-object:// inputs may be in, comma-separated, with * for any characters"`
	KlingTimeout   time.Duration `env:"BRIDGE_KLING_TIMEOUT" envDefault:"60s" help:"bounds one call to Kling; less than BRIDGE_LOOKUP_WINDOW"`
	LookupWindow   time.Duration `env:"BRIDGE_LOOKUP_WINDOW" envDefault:"2m" help:"how long a task of unknown fate is looked up before it is sent again"`
	ProbeInterval  time.Duration `env:"BRIDGE_PROBE_INTERVAL" envDefault:"30s" help:"between probes while Kling refuses the credentials or the account"`
	AckWait        time.Duration `env:"BRIDGE_ACK_WAIT" envDefault:"20s" help:"silence of a replica after which another one takes its requests over"`

	PublicURL      string  `env:"BRIDGE_PUBLIC_URL" help:"https://… that reaches the callback listener; http only for loopback; empty: no callbacks, poll only"`
	CallbackAddr   string  `env:"BRIDGE_CALLBACK_ADDR" envDefault:":8080" help:"callback listener; serves nothing but callbacks, and files that Kling takes by URL"`
	CallbackSecret Secrets `env:"BRIDGE_CALLBACK_SECRET" help:"comma-separated: the first signs callback URLs, all verify; empty: generated once, shared by all replicas"`
	CallbackTrust  string  `env:"BRIDGE_CALLBACK_TRUST" envDefault:"url" help:"url: the signed URL is the proof; query: a callback only triggers an immediate poll"`
	Adopt          bool    `env:"BRIDGE_ADOPT" envDefault:"false" help:"serve callbacks of tasks that were created outside the bridge"`
	TLSCert        string  `env:"BRIDGE_TLS_CERT" help:"PEM file of the callback listener's certificate; read again when it changes"`
	TLSKey         string  `env:"BRIDGE_TLS_KEY" help:"PEM file of its key"`
	TLSAutocert    string  `env:"BRIDGE_TLS_AUTOCERT" help:"host name to get a certificate for by ACME (TLS-ALPN-01: the listener must be reachable on port 443)"`

	PollAfter         time.Duration `env:"BRIDGE_POLL_AFTER" envDefault:"300s" help:"from submission to the first poll of a task without a final callback"`
	PollMinInterval   time.Duration `env:"BRIDGE_POLL_MIN_INTERVAL" envDefault:"10s" help:"wait after the first poll; doubles with each; without BRIDGE_PUBLIC_URL also the wait before it"`
	PollMaxInterval   time.Duration `env:"BRIDGE_POLL_MAX_INTERVAL" envDefault:"5m" help:"longest wait between polls"`
	ReconcileInterval time.Duration `env:"BRIDGE_RECONCILE_INTERVAL" envDefault:"10m" help:"between searches for tasks and timers that JetStream has lost"`

	ArchiveURL        string `env:"BRIDGE_ARCHIVE_URL" help:"where the files of results are copied to: nats://bucket, s3://bucket/prefix?region=…&endpoint=… or file:///dir; empty: nowhere"`
	ArchiveAllowHosts string `env:"BRIDGE_ARCHIVE_ALLOW_HOSTS" help:"comma-separated host or host:port that files may be fetched from by plain http and at private addresses; all others: https and public ones only"`
	ArchiveMaxBytes   int64  `env:"BRIDGE_ARCHIVE_MAX_BYTES" envDefault:"2147483648" help:"largest file to archive, in bytes"`

	AdminAddr       string        `env:"BRIDGE_ADMIN_ADDR" envDefault:"127.0.0.1:8081" help:"health, readiness, metrics, console; never on the callback listener"`
	AdminToken      Secret        `env:"BRIDGE_ADMIN_TOKEN" help:"opens the console: asked of everybody; without one the console is open only where BRIDGE_ADMIN_ADDR is loopback"`
	AdminHosts      HostNames     `env:"BRIDGE_ADMIN_HOSTS" help:"comma-separated names, without ports, by which metrics and readiness may be asked for, beside addresses, localhost and names of private networks"`
	ForwardSecret   Secret        `env:"BRIDGE_FORWARD_SECRET" help:"whsec_… secret that klingbridge forward signs with; empty: one is made up for each run"`
	TraceURL        string        `env:"BRIDGE_TRACE_URL" help:"how the console links to a request's trace: an http or https URL with {trace_id} in it; empty: it does not"`
	LogLevel        string        `env:"BRIDGE_LOG_LEVEL" envDefault:"info" help:"debug, info, warn or error"`
	LogFormat       string        `env:"BRIDGE_LOG_FORMAT" help:"text or json; empty: text on a terminal, else json"`
	ShutdownTimeout time.Duration `env:"BRIDGE_SHUTDOWN_TIMEOUT" envDefault:"20s" help:"to finish what is in hand after SIGTERM"`

	// Named are the accounts of AccountNames, see [Config.Accounts].
	Named []Account `env:"-"`
	// Unknown lists the variables that are set and look like ours but are none, sorted: most likely misspelt.
	Unknown []string `env:"-"`
	// Unused lists the variables that are set and count for nothing, as others take their place.
	Unused []string `env:"-"`
}

// Load reads the variables from environ. The error is of type [Faults] and holds everything that is wrong; the Config
// is then filled as far as possible, so that the caller can check the rest of it and report all of it together.
func Load(environ map[string]string) (Config, error) {
	var c Config
	if environ == nil {
		environ = map[string]string{} // nil would make the parser read the process's own environment
	}
	err := env.ParseWithOptions(&c, env.Options{Environment: withTrimmedSecrets[Config](environ, ""), FuncMap: parsers()})
	faults := slices.Concat(parseFaults[Config](err, ""), c.loadAccounts(environ), c.validate())
	slices.SortStableFunc(faults, func(a, b Fault) int { return cmp.Compare(position(a.Variable), position(b.Variable)) })
	c.Unknown, c.Unused = c.unknown(environ), c.unused(environ)
	return c, firstOfEach(faults).Err()
}

// Embedded reports whether no NATS system is named, so that serve runs its own.
func (c Config) Embedded() bool { return c.NATSURL == "" && c.NATSContext == "" }

// RequireKling returns the faults of the Kling credentials, for the commands that need them.
func (c Config) RequireKling() Faults {
	var faults Faults
	for _, a := range c.Accounts() {
		faults = append(faults, a.requireCredentials()...)
	}
	return faults
}

// Fault is one thing that is wrong with one variable.
type Fault struct {
	Variable string
	Problem  string
}

// Faults is everything that is wrong, as one error of one line each.
type Faults []Fault

// Error returns one line per fault, each beginning with its variable.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Variable + ": " + fault.Problem
	}
	return strings.Join(lines, "\n")
}

// Err returns nil when there are no faults.
func (f Faults) Err() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

// parseFaults names the variables of T that the parser could not read. The parser knows the struct's fields only.
func parseFaults[T any](err error, prefix string) Faults {
	all, ok := errors.AsType[env.AggregateError](err)
	if !ok {
		return nil
	}
	var faults Faults
	for _, err := range all.Errors {
		parse, ok := errors.AsType[env.ParseError](err)
		if !ok {
			faults = append(faults, Fault{"environment", err.Error()})
			continue
		}
		field, _ := reflect.TypeFor[T]().FieldByName(parse.Name)
		faults = append(faults, Fault{prefix + field.Tag.Get("env"), parse.Err.Error()})
	}
	return faults
}

// firstOfEach drops what validation finds in the zero value that a parse fault has left behind.
func firstOfEach(faults Faults) Faults {
	seen := map[string]bool{}
	return slices.DeleteFunc(faults, func(f Fault) bool {
		before := seen[f.Variable]
		seen[f.Variable] = true
		return before
	})
}

func (c Config) unknown(environ map[string]string) []string {
	var names []string
	accounts := map[string]bool{}
	for _, account := range c.AccountNames {
		for _, v := range accountVariables() {
			accounts[strings.Replace(v.Name, accountPrefix("<name>"), accountPrefix(account), 1)] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		ours := strings.HasPrefix(name, "BRIDGE_") || strings.HasPrefix(name, "KLING_")
		if ours && position(name) < 0 && !accounts[name] {
			names = append(names, name)
		}
	}
	return names
}
