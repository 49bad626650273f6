package klingtest

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	defaultSubmittedFor    = 9 * time.Second   // as recorded in late 2025
	defaultDuration        = 230 * time.Second // two recorded 5 s clips took 229 s and 232 s
	defaultCallbackTimeout = 10 * time.Second
	defaultCallbackBackoff = time.Second
	defaultSlots           = 20 // of a pool nobody has said anything about
)

// Options configures a [Server]. At least one credential is required; every other zero value means its default.
type Options struct {
	Kinds kling.Kinds // routes served; zero: kling.DefaultKinds

	APIKeys              []string // accepted static keys, for both API generations
	AccessKey, SecretKey string   // accepted HS256 pair, for v1 routes and /account only
	WebhookSecret        string   // whsec_ and base64: signs every callback; empty: callbacks are unsigned

	Credits         int                // tasks that the account can pay for, see [Server.SetCredits]; zero: any number
	Slots           map[kling.Pool]int // tasks at a time; absent: 20 video, 9 image, 5 try-on, 20 of any other pool
	CapacityByModel bool               // Slots are had by each model of a pool, as Kling's newest text says
	SlotsByModel    map[string]int     // by model_name or the model of the path; the others have Slots each; implies CapacityByModel

	// RetiredModels refuses the legacy video models that were found discontinued in 2026-09, and text2video and image2video
	// without model_name: their documented default is one of those. Nobody has recorded the latter.
	RetiredModels bool

	SubmittedFor time.Duration                // from creation to processing; zero: 9s; at most half of what the task takes
	Duration     time.Duration                // from creation to the end; zero: 230s
	Speed        float64                      // every duration of this simulation is divided by it; zero: 1
	DurationOf   func(TaskView) time.Duration // of one task instead of Duration; nil: Duration for all

	Callbacks       CallbackMode
	CallbackShape   Shape
	CallbackHTTP    *http.Client  // nil: one with a timeout of 10s; redirects are never followed
	CallbackRetries int           // of a callback not answered 2xx; zero: none, as Kling documents none
	CallbackBackoff time.Duration // between those retries; zero: 1s
	QueryLag        time.Duration // how long a new task can't be queried yet

	// TakesKnownIDs makes another task of a create call whose external id was used before. Kling refuses it (recorded
	// 2026-09), which hides that a caller would have paid twice.
	TakesKnownIDs bool

	// Fail says whether a task fails, and with which message. It is asked when the task ends.
	// Nil: a prompt with "fail:" makes the task fail with what follows as the message.
	// Whatever Fail says, a prompt with "[policy]" is refused at creation with code 1301.
	Fail func(TaskView) (message string, fail bool)

	// EndForgotten answers queries for tasks that an earlier simulation made, told by their ids, as if they had failed. Kling
	// forgets none, but a simulation keeps nothing, and a bridge would ask for them until their deadline. With a Seed, ids
	// tell nothing.
	EndForgotten bool

	Faults Faults
	// Seed makes the same dice and ids as any other run with that seed, as long as calls come in the same order.
	// Zero: the dice are always the same ones, but ids begin where the clock is.
	Seed uint64

	PublicURL string           // where result files are served; empty: the host that the task's create call named
	Now       func() time.Time // of timestamps and token checks; timers run on the real clock; nil: time.Now
	Logger    *slog.Logger     // nil: nothing is logged
	Observe   func(Event)      // called for each thing that happens, from any goroutine; nil: nobody is told
}

// CallbackMode says which status changes are called back. Kling's callback page (2026-10) says "when the task status
// changes" without saying whether creation is a change.
type CallbackMode int

// The callback modes.
const (
	EveryChange  CallbackMode = iota // processing and the end
	AllChanges                       // submitted too
	TerminalOnly                     // the end
	None                             // nothing: polling has to do
)

// Shape is the form of a callback's body.
type Shape int

// The shapes of callbacks.
const (
	Flat    Shape = iota // the task object, as documented and recorded
	Wrapped              // in {code, message, data}, as some third parties describe it
)

// withDefaults returns the options with every zero value replaced, or all that is wrong with them.
func (o Options) withDefaults() (Options, error) {
	if err := o.validate(); err != nil {
		return o, err
	}
	if len(o.Kinds.All()) == 0 {
		o.Kinds = kling.DefaultKinds()
	}
	slots := map[kling.Pool]int{kling.PoolVideo: defaultSlots, kling.PoolImage: 9, kling.PoolTryOn: 5}
	maps.Copy(slots, o.Slots)
	o.Slots = slots
	setDefault(&o.SubmittedFor, defaultSubmittedFor)
	setDefault(&o.Duration, defaultDuration)
	setDefault(&o.CallbackBackoff, defaultCallbackBackoff)
	setDefault(&o.Speed, 1)
	if o.Fail == nil {
		o.Fail = FailAsPrompted
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.PublicURL = strings.TrimSuffix(o.PublicURL, "/")
	return o, nil
}

func setDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// FailAsPrompted is what [Options.Fail] is where it is nil.
func FailAsPrompted(t TaskView) (string, bool) {
	_, message, found := strings.Cut(t.Prompt, "fail:")
	return strings.TrimSpace(message), found
}

func (o Options) validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(o.APIKeys) == 0 && o.AccessKey == "" {
		wrong("no credentials: nobody could call this Kling")
	}
	if (o.AccessKey == "") != (o.SecretKey == "") {
		wrong("access key and secret key go together")
	}
	o.checkSlots(wrong)
	for name, d := range map[string]time.Duration{
		"submitted-for": o.SubmittedFor, "duration": o.Duration,
		"query lag": o.QueryLag, "callback backoff": o.CallbackBackoff,
	} {
		if d < 0 {
			wrong("%s: %s is negative", name, d)
		}
	}
	if o.Speed < 0 || math.IsNaN(o.Speed) {
		wrong("speed: %g is not above zero", o.Speed)
	}
	if u, err := url.Parse(o.PublicURL); o.PublicURL != "" && (err != nil || u.Scheme == "" || u.Host == "") {
		wrong("public URL: %q is not absolute", o.PublicURL)
	}
	return errors.Join(append(errs, o.Faults.validate())...)
}

func (o Options) checkSlots(wrong func(format string, args ...any)) {
	for pool, n := range o.Slots {
		if n < 0 {
			wrong("slots of pool %s: %d is negative", pool, n)
		}
	}
	for model, n := range o.SlotsByModel {
		if n < 0 {
			wrong("slots of model %s: %d is negative", model, n)
		}
	}
}

const webhookSecretPrefix = "whsec_"

// webhookKey returns what a secret signs with; nil when there is no secret.
func webhookKey(secret string) ([]byte, error) {
	if secret == "" {
		return nil, nil
	}
	encoded, ok := strings.CutPrefix(secret, webhookSecretPrefix)
	key, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil || len(key) == 0 {
		return nil, fmt.Errorf("webhook secret: want %s and base64", webhookSecretPrefix)
	}
	return key, nil
}
