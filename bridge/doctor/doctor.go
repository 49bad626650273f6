// Package doctor looks at everything a bridge depends on and says what is wrong and what to do about it. It creates no
// task, and nothing on the NATS system: it reads, and asks Kling for the account's costs once.
package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	OK      Level = "ok"
	Note    Level = "note"    // good to know; nothing is wrong
	Warning Level = "warning" // the bridge works, but not as well or as safely as it could
	Fault   Level = "fault"   // something does not work
	Skipped Level = "skipped" // could not be looked at, for what else is wrong
)

// Finding is what one look at one thing has shown.
type Finding struct {
	Check   string `json:"check"` // what was looked at: configuration, nats, jetstream, ...
	Level   Level  `json:"level"`
	Message string `json:"message"` // one line
	Advice  string `json:"advice"`  // what to do about it, one line; empty: nothing
}

// Options says what to examine.
type Options struct {
	// Bridge is what serve would run with. Of it Kinds, Subjects, StreamReplicas, StreamMaxBytes, EventRetention, PublicURL,
	// CallbackSecrets and Archive are looked at.
	Bridge   bridge.Options
	Accounts []Account // at Kling, at least one

	NATS      bus.Options // how clients reach the NATS system
	NATSNamed string      // that system, without a secret
	Embedded  bool        // it is the server embedded in a bridge on this machine; NATS also says where its store is

	// NoAccount says that no credentials for Kling are set, which is well beside bridges that simulate it: see [Simulated].
	NoAccount bool

	AdminURL  string     // where a bridge on this machine answers /readyz
	Listeners []Listener // of a bridge on this machine, those whose ports are known
	// Wrong names the variables that are wrong. What depends on them is skipped.
	Wrong []string

	Begin func(check string) // is told which check is under way; nil: nobody is
}

// Account is one account at Kling.
type Account struct {
	Name           string        // empty: the only one, of the plain variables
	Kling          kling.Options // Transport is not used
	WebhookSecrets int           // how many are set
}

// named puts the account's name before a text, where it has one.
func (a Account) named(text string) string {
	if a.Name == "" {
		return text
	}
	return "account " + a.Name + ": " + text
}

// Run makes every check, one after the other, and tells each finding as soon as it is there.
func Run(ctx context.Context, o Options, tell func(Finding)) {
	e := &examination{Options: o}
	defer e.close()
	for _, c := range e.checks() {
		if o.Begin != nil {
			o.Begin(c.name)
		}
		for _, f := range e.perform(ctx, c) {
			f.Check = c.name
			tell(f)
		}
	}
}

// examination is one run and what its checks have found so far.
type examination struct {
	Options
	bus     *bus.Bus                // nil: there is no NATS system that could be used
	account *jetstream.AccountInfo  // nil: JetStream does not answer
	bridges []micro.ServiceIdentity // that answer
	streams []bridge.StreamState
	dates   *dateWatch // nil: Kling was not asked
}

// need is what a check can't do without.
type need int

const (
	needsNothing need = iota
	needsNATS
	needsJetStream
)

type check struct {
	name      string
	need      need
	variables []string // what it depends on; one that ends in _ stands for all that begin with it
	run       func(context.Context) []Finding
}

// natsCheck comes before all that needs NATS.
func (e *examination) natsCheck() check {
	return check{"nats", needsNothing, []string{"NATS_", "BRIDGE_EMBEDDED_ADDR"}, e.connect}
}

func (e *examination) checks() []check {
	const (
		prefix   = "BRIDGE_SUBJECT_PREFIX"
		replicas = "BRIDGE_STREAM_REPLICAS"
		public   = "BRIDGE_PUBLIC_URL"
		accounts = "KLING_ACCOUNT_"
	)
	streams := []string{prefix, replicas, "BRIDGE_EXTRA_KINDS", "BRIDGE_EVENT_RETENTION", "BRIDGE_STREAM_MAX_BYTES"}
	credentials := []string{
		"KLING_API_KEY", "KLING_ACCESS_KEY", "KLING_SECRET_KEY", "KLING_BASE_URL", "BRIDGE_KLING_TIMEOUT", "KLING_ACCOUNTS", accounts,
	}
	return []check{
		e.natsCheck(),
		{"jetstream", needsNATS, nil, e.jetStream},
		{"limits", needsJetStream, streams, e.limits},
		{"max_payload", needsNATS, nil, e.maxPayload},
		{"sync", needsNATS, nil, e.syncInterval},
		{"permissions", needsJetStream, []string{prefix}, e.permissions},
		{"streams", needsJetStream, streams, e.compareStreams},
		{"replicas", needsJetStream, []string{prefix, replicas}, e.replicas},
		{"nats clock", needsJetStream, streams, e.natsClock},
		{"kling", needsNothing, credentials, e.credentials},
		{"clock", needsNothing, nil, e.clock},
		{"webhook", needsNothing, []string{"KLING_WEBHOOK_SECRET", "KLING_ACCOUNTS", accounts}, e.webhook},
		{"public url", needsNothing, []string{public, prefix, "BRIDGE_CALLBACK_SECRET"}, e.publicURL},
		{"bridge", needsNATS, nil, e.runningBridges},
		{"listeners", needsNothing, []string{"BRIDGE_CALLBACK_ADDR", "BRIDGE_ADMIN_ADDR"}, e.listeners},
		{"readiness", needsNothing, []string{prefix, "BRIDGE_ADMIN_ADDR"}, e.readiness},
		{"callbacks", needsJetStream, []string{prefix, public}, e.callbacks},
		{"dead letters", needsJetStream, []string{prefix}, e.deadLetters},
	}
}

// perform makes a check, unless something is missing that it depends on.
func (e *examination) perform(ctx context.Context, c check) []Finding {
	switch wrong := e.wrong(c.variables); {
	case wrong != "":
		return skipped("%s is to be mended first", wrong)
	case c.need >= needsNATS && e.bus == nil:
		return skipped("there is no NATS system to ask")
	case c.need >= needsJetStream && e.account == nil:
		return skipped("JetStream does not answer")
	case ctx.Err() != nil:
		return skipped("interrupted")
	default:
		return c.run(ctx)
	}
}

// wrong returns the first variable that is wrong of those a check depends on.
func (e *examination) wrong(variables []string) string {
	i := slices.IndexFunc(e.Wrong, func(name string) bool {
		return slices.ContainsFunc(variables, func(v string) bool {
			return v == name || strings.HasSuffix(v, "_") && strings.HasPrefix(name, v)
		})
	})
	if i < 0 {
		return ""
	}
	return e.Wrong[i]
}

func (e *examination) close() {
	if e.bus != nil {
		e.bus.Close()
	}
}

func ok(format string, args ...any) []Finding {
	return []Finding{{Level: OK, Message: fmt.Sprintf(format, args...)}}
}

func skipped(format string, args ...any) []Finding {
	return []Finding{{Level: Skipped, Message: fmt.Sprintf(format, args...)}}
}

func note(message, advice string) []Finding { return one(Note, message, advice) }

func warning(message, advice string) []Finding { return one(Warning, message, advice) }

func fault(message, advice string) []Finding { return one(Fault, message, advice) }

func one(level Level, message, advice string) []Finding {
	return []Finding{{Level: level, Message: message, Advice: advice}}
}
