package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/config"
)

const (
	simAPIKey   = "simulated-key" // accepted where no credentials are given
	simShutdown = 5 * time.Second // for answers on their way
)

// simulation is what the flags of sim say.
type simulation struct {
	addr      string
	slots     string
	callbacks string
	wrapped   bool
	retired   []string
	accounts  []string
	options   klingtest.Options

	anyPort        bool // will do where addr is taken
	submittedGiven bool // --submitted-time was given: its default yields to a short --task-time
}

func (p *program) simCommand() *cobra.Command {
	var s simulation
	cmd := &cobra.Command{
		Use:   "sim",
		Short: "Run a simulated Kling",
		Long: `Run a simulated Kling: each result is one of a few small files, all else is like the real one, bad sides included. A
prompt with "fail: <why>" makes a task that fails; one with "[policy]" is refused; one with "[busy]" comes too fast at first, and
one with "[credit]" meets an account without credit once. Faults are probabilities from 0 to 1.

Prints the variables with which a bridge uses it.`,
		Example: `  klingbridge sim --speed 10
  klingbridge sim --lose-callback 0.3 --lose-reply 0.05 --slots video=3
  klingbridge sim --account main:video=8 --account burst:video=2,credits=50`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.submittedGiven = cmd.Flags().Changed("submitted-time")
			return p.simulate(cmd.Context(), s)
		},
	}
	s.flags(cmd.Flags())
	return cmd
}

func (s *simulation) flags(f *pflag.FlagSet) {
	o := &s.options
	f.StringVar(&s.addr, "addr", "127.0.0.1:8090", "where to listen; port 0: any free one")
	f.StringSliceVar(&o.APIKeys, "api-key", nil, "accepted static `key`; may be repeated (default "+simAPIKey+")")
	f.StringVar(&o.AccessKey, "access-key", "", "accepted access `key` of a pair (older API only)")
	f.StringVar(&o.SecretKey, "secret-key", "", "secret `key` of that pair")
	f.StringArrayVar(&s.accounts, "account", nil, "`name[:list]` of an account with a key, slots and credits (in tasks) of its own; may be repeated")
	f.StringVar(&s.slots, "slots", "video=20,image=9,try-on=5", "tasks at a time by pool, as a `list`")
	f.BoolVar(&o.CapacityByModel, "capacity-by-model", false, "give each model of a pool those slots")
	f.StringToIntVar(&o.SlotsByModel, "slots-by-model", nil, "tasks at a time of some models, as a `list` such as kling-v3=2; implies the former")
	f.StringSliceVar(&s.retired, "retired", nil, "`kinds` whose create route is no longer available")
	f.BoolVar(&o.RetiredModels, "retired-models", false, "refuse the video models that were discontinued in 2026-09, the documented default among them")
	f.DurationVar(&o.Duration, "task-time", 230*time.Second, "how long a task takes from submission to end")
	f.DurationVar(&o.SubmittedFor, "submitted-time", 9*time.Second, "how long of that it is only submitted")
	o.Speed = 1
	f.Var(number{&o.Speed, factor}, "speed", "how much faster than real time everything runs")
	f.StringVar(&s.callbacks, "callbacks", "every", "every (processing and end), all (submitted too), terminal or none")
	f.BoolVar(&s.wrapped, "wrapped", false, "wrap callbacks in {code, message, data}")
	f.StringVar(&o.WebhookSecret, "webhook-secret", "", "sign callbacks with this whsec_… `secret`")
	f.DurationVar(&o.QueryLag, "query-lag", 0, "how long a new task can't be queried")
	f.Uint64Var(&o.Seed, "seed", 0, "the same seed throws the same dice")
	faultFlags(f, &o.Faults)
}

func faultFlags(f *pflag.FlagSet, faults *klingtest.Faults) {
	for name, fault := range map[string]struct {
		chance *float64
		usage  string
	}{
		"lose-callback":    {&faults.LoseCallback, "a callback is lost"},
		"repeat-callback":  {&faults.RepeatCallback, "a callback is sent again"},
		"late-callback":    {&faults.LateCallback, "a callback comes late"},
		"reorder-callback": {&faults.ReorderCallback, "the end is called back before what precedes it"},
		"early-callback":   {&faults.EarlyCallback, "the end is called back before the create call is answered"},
		"lose-reply":       {&faults.LoseReply, "a task is created, but its answer is lost"},
		"server-error":     {&faults.ServerError, "a call is answered with a server error"},
		"too-fast":         {&faults.TooFast, "a call is refused as too fast"},
		"slow":             {&faults.Slow, "an answer takes long"},
		"edge-page":        {&faults.EdgePage, "a call is answered by a page of something before Kling"},
		"odd-shape":        {&faults.OddShape, "a task object has a field of a type that Kling never sends"},
		"thin-callback":    {&faults.ThinCallback, "a success is called back without results"},
		"known-id":         {&faults.KnownID, "a task is created, but its external id is said to exist"},
	} {
		f.Var(number{fault.chance, probability}, name, "`probability` that "+fault.usage)
	}
}

func (p *program) simulate(ctx context.Context, s simulation) error {
	settings, err := p.settings(false)
	if err != nil {
		return err
	}
	options, err := s.complete(settings)
	if err != nil {
		return err
	}
	accounts, err := s.perAccount(options)
	if err != nil {
		return err
	}
	sims := klingtest.Accounts{}
	for _, a := range accounts {
		sim, err := klingtest.New(a.options)
		if err != nil {
			return usageError{err}
		}
		defer sim.Close()
		s.retire(sim)
		sims = append(sims, sim)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if err != nil {
		return fmt.Errorf("listen for the simulated Kling (--addr): %w", err)
	}
	fmt.Fprintf(p.stdout, "export KLING_BASE_URL=http://%s\n", listener.Addr())
	p.printKeys(accounts)
	return serveUntilDone(ctx, listener, sims)
}

// retire takes the routes away that were named.
func (s simulation) retire(sim *klingtest.Server) {
	for _, kind := range s.retired {
		sim.SetRetired(kind, klingtest.Gone1201)
	}
}

// complete reads the flags that the flag library can't.
func (s simulation) complete(settings settings) (klingtest.Options, error) {
	o := s.options
	o.Kinds, o.Logger = settings.kinds, settings.log
	if len(o.APIKeys) == 0 && o.AccessKey == "" {
		o.APIKeys = []string{simAPIKey}
	}
	for _, kind := range s.retired {
		if _, ok := o.Kinds.Lookup(kind); !ok {
			return o, usagef("--retired: there is no kind %s", kind)
		}
	}
	err := cmp.Or(s.checkTimes(), checkAddr(s.addr), s.checkSecrets())
	if err != nil {
		return o, err
	}
	for model, n := range o.SlotsByModel {
		if n < 0 {
			return o, usagef("--slots-by-model %s=%d is below zero", model, n)
		}
	}
	if o.Slots, err = parseSlots(s.slots, o.Kinds.Pools()); err != nil {
		return o, err
	}
	if s.wrapped {
		o.CallbackShape = klingtest.Wrapped
	}
	modes := map[string]klingtest.CallbackMode{
		"every":    klingtest.EveryChange,
		"all":      klingtest.AllChanges,
		"terminal": klingtest.TerminalOnly,
		"none":     klingtest.None,
	}
	mode, ok := modes[s.callbacks]
	if !ok {
		return o, usagef("--callbacks %q is not every, all, terminal or none", s.callbacks)
	}
	o.Callbacks, o.Faults.Create = mode, promptMarks
	return o, nil
}

// Marks in prompts say how a create call fares at first, beside those that the simulation knows by itself.
const (
	markBusy   = "[busy]"
	markCredit = "[credit]"
)

// promptMarks has a create call refused as often as its mark says.
func promptMarks(v klingtest.CreateView) klingtest.Fault {
	const (
		noCredit  = 1102
		busyTries = 3
	)
	switch {
	case strings.Contains(v.Prompt, markBusy) && v.Seen < busyTries:
		return klingtest.TooFast1302
	case strings.Contains(v.Prompt, markCredit) && v.Seen == 0:
		return klingtest.Answer{Code: noCredit}
	default:
		return nil
	}
}

func (s simulation) checkTimes() error {
	o := s.options
	for name, d := range map[string]time.Duration{
		"task-time": o.Duration, "submitted-time": o.SubmittedFor, "query-lag": o.QueryLag,
	} {
		if d < 0 {
			return usagef("--%s %s is below zero", name, d)
		}
	}
	if s.submittedGiven && o.SubmittedFor > o.Duration {
		return usagef("--submitted-time %s is above --task-time %s", o.SubmittedFor, o.Duration)
	}
	return nil
}

func (s simulation) checkSecrets() error {
	o := s.options
	if (o.AccessKey == "") != (o.SecretKey == "") {
		return usagef("--access-key and --secret-key go together")
	}
	if o.WebhookSecret == "" {
		return nil
	}
	if _, err := kling.NewWebhook([]string{o.WebhookSecret}); err != nil {
		return usagef("--webhook-secret: want whsec_ and base64")
	}
	return nil
}

// checkAddr refuses what can't be listened on.
func checkAddr(addr string) error {
	_, port, err := net.SplitHostPort(addr)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return usagef("--addr %q is not an address such as %s", addr, devSimAddr)
	}
	return nil
}

func parseSlots(list string, known []kling.Pool) (map[kling.Pool]int, error) {
	var numbers config.Concurrency
	if err := numbers.UnmarshalText([]byte(list)); err != nil {
		return nil, usagef("--slots: %w", err)
	}
	slots := map[kling.Pool]int{}
	for pool, n := range numbers {
		if !slices.Contains(known, kling.Pool(pool)) {
			return nil, usagef("--slots: there is no pool %s (there are %s)", pool, joinPools(known))
		}
		slots[kling.Pool(pool)] = n
	}
	return slots, nil
}

// serveUntilDone serves HTTP until ctx ends and the answers on their way are out.
func serveUntilDone(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the simulated Kling: %w", err)
	case <-ctx.Done():
	}
	// ctx has ended, but the answers get their time.
	deadline, cancel := context.WithTimeout(context.WithoutCancel(ctx), simShutdown)
	defer cancel()
	err := server.Shutdown(deadline)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close() // what hangs on purpose is cut off
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}
