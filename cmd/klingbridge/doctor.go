package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/bridge/doctor"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/config"
)

func (p *program) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything the bridge depends on",
		Long: `Check the configuration, NATS and its streams, the Kling credentials, the clock, the way of a callback from the public
URL to the bridge, and how running bridges fare: one line each, with what to do. No task is created, nothing is changed.

Run it with the variables of serve; beside a running dev without any. It exits 0 when there is no fault, warnings or not, else 1.`,
		Example: "  klingbridge doctor\n  klingbridge doctor --json | jq '.findings[] | select(.level == \"fault\")'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.doctor(cmd.Context(), asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false,
		"as a JSON object with faults, warnings and findings, each with check, level, message and advice")
	return cmd
}

// diagnosis is what --json prints.
type diagnosis struct {
	Faults   int              `json:"faults"`
	Warnings int              `json:"warnings"`
	Findings []doctor.Finding `json:"findings"`
}

func (d *diagnosis) add(f doctor.Finding) {
	d.Findings = append(d.Findings, f)
	switch f.Level {
	case doctor.Fault:
		d.Faults++
	case doctor.Warning:
		d.Warnings++
	}
}

// doctor examines everything and fails when there is a fault.
func (p *program) doctor(ctx context.Context, asJSON bool) error {
	var d diagnosis
	tell := func(f doctor.Finding) {
		f.Message, f.Advice = printable(f.Message), printable(f.Advice)
		d.add(f)
		if !asJSON {
			p.printFinding(f)
		}
	}
	s, faults := p.readSettings(false)
	faults = append(faults, certificateFaults(s, faults)...)
	faults = append(faults, exporterFaults(p.environ)...)
	options := doctorOptions(s, faults)
	if account := s.RequireKling(); len(account) > 0 {
		if s.noAccount() {
			_ = p.patiently("still checking: nats", func() error {
				options.NoAccount = doctor.Simulated(ctx, options)
				return nil
			})
		}
		if !options.NoAccount {
			faults = append(faults, account...)
			options = doctorOptions(s, faults)
		}
	}
	for _, f := range configFindings(s, faults, options.NoAccount) {
		tell(f)
	}
	p.examine(ctx, options, tell)
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if asJSON {
		enc := json.NewEncoder(p.stdout)
		enc.SetEscapeHTML(false) // subjects have a >
		if err := enc.Encode(d); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(p.stdout, "\nfaults: %d, warnings: %d\n", d.Faults, d.Warnings)
	}
	if d.Faults > 0 {
		return errSilent
	}
	return nil
}

// examine tells which check is under way where one takes long.
func (p *program) examine(ctx context.Context, o doctor.Options, tell func(doctor.Finding)) {
	done := func() {}
	o.Begin = func(check string) {
		done()
		done = p.tellLater("still checking: " + check)
	}
	doctor.Run(ctx, o, tell)
	done()
}

// certificateFaults loads what serve would serve with, unless its variables are known to be wrong.
func certificateFaults(s settings, known config.Faults) config.Faults {
	if slices.ContainsFunc(known, func(f config.Fault) bool { return strings.HasPrefix(f.Variable, "BRIDGE_TLS_") }) {
		return nil
	}
	_, err := callbackTLS(s.Config, s.log)
	faults, _ := errors.AsType[config.Faults](err)
	return faults
}

// noAccount reports whether nothing at all is set of what Kling knows somebody by.
func (s settings) noAccount() bool {
	return len(s.AccountNames) == 0 && s.KlingAPIKey == "" && s.KlingAccessKey == "" && s.KlingSecretKey == ""
}

func configFindings(s settings, faults config.Faults, besideDev bool) []doctor.Finding {
	const check = "configuration"
	var findings []doctor.Finding
	for _, f := range faults {
		findings = append(findings, doctor.Finding{
			Check: check, Level: doctor.Fault, Message: f.Variable + ": " + f.Problem,
			Advice: `"klingbridge help environment" describes it`,
		})
	}
	if len(faults) == 0 {
		findings = append(findings, doctor.Finding{Check: check, Level: doctor.OK, Message: "every variable is in order"})
	}
	if besideDev {
		findings = append(findings, doctor.Finding{
			Check: check, Level: doctor.Note, Message: "no account is set, and the bridge that runs here simulates Kling",
			Advice: `set KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY, before "klingbridge serve"`,
		})
	}
	if n := len(s.AdminToken.Reveal()); n > 0 && n < console.LongToken {
		findings = append(findings, doctor.Finding{
			Check: check, Level: doctor.Warning,
			Message: fmt.Sprintf("BRIDGE_ADMIN_TOKEN has %d bytes: it could be guessed, and who guesses locks out others behind the same proxy", n),
			Advice:  fmt.Sprintf("take one of %d or more: openssl rand -hex 32", console.LongToken),
		})
	}
	for _, name := range s.Unknown {
		findings = append(findings, doctor.Finding{
			Check: check, Level: doctor.Warning, Message: name + " is no variable of klingbridge",
			Advice: `is it misspelt? "klingbridge help environment" lists them`,
		})
	}
	return findings
}

func doctorOptions(s settings, faults config.Faults) doctor.Options {
	o := doctor.Options{
		Bridge: bridge.Options{
			Kinds:           s.kinds,
			Subjects:        subjects.Subjects{Subjects: s.subjects},
			StreamReplicas:  s.StreamReplicas,
			StreamMaxBytes:  streamSizes(s),
			Archive:         s.archive,
			EventRetention:  s.EventRetention,
			PublicURL:       s.PublicURL,
			CallbackSecrets: s.CallbackSecret.Reveal(),
		},
		NATS:      quietly(natsOptions(s)),
		NATSNamed: natsOptions(s).Where(),
		Embedded:  busOptions(s).Embedded(),
		AdminURL:  adminURL(s),
	}
	for _, l := range []doctor.Listener{
		{Variable: "BRIDGE_CALLBACK_ADDR", Addr: s.CallbackAddr}, {Variable: "BRIDGE_ADMIN_ADDR", Addr: s.AdminAddr},
	} {
		if !portUnknown(l.Addr) {
			l.Addr = hereAddr(l.Addr)
			o.Listeners = append(o.Listeners, l)
		}
	}
	for _, a := range s.Accounts() {
		o.Accounts = append(o.Accounts, doctor.Account{Name: a.Name, Kling: klingOptions(s, a), WebhookSecrets: len(a.WebhookSecret)})
	}
	for _, f := range faults {
		o.Wrong = append(o.Wrong, f.Variable)
	}
	return o
}

// quietly is a connection of which the findings say all there is to say.
func quietly(o bus.Options) bus.Options {
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

// adminURL is where the admin listener is reached from this machine.
func adminURL(s settings) string {
	return "http://" + hereAddr(s.AdminAddr)
}

// hereAddr is where what listens on addr is reached from this machine.
func hereAddr(addr string) string {
	resolved, err := net.ResolveTCPAddr("tcp", addr)
	if err != nil {
		return addr
	}
	return strings.TrimPrefix(localURL(resolved), "http://")
}

// printFinding prints one line, its first two columns aligned.
func (p *program) printFinding(f doctor.Finding) {
	line := fmt.Sprintf("%s  %-13s  %s", p.level(f.Level), f.Check, f.Message)
	if f.Advice != "" {
		line += " → " + f.Advice
	}
	fmt.Fprintln(p.stdout, line)
}

// level returns a level padded to a column, in colour where stdout shows it.
func (p *program) level(l doctor.Level) string {
	padded := fmt.Sprintf("%-7s", l)
	const green, red, yellow, grey = 32, 31, 33, 90
	colour, known := map[doctor.Level]int{
		doctor.OK: green, doctor.Warning: yellow, doctor.Fault: red, doctor.Skipped: grey,
	}[l]
	if !known || !p.colours(p.stdout) {
		return padded
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, padded)
}
