package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge/archive"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// Times of dev: long enough to watch a task, short enough to wait for it.
const (
	devSubmitted = time.Second
	devDuration  = 4 * time.Second
)

// devSimAddr is where dev simulates Kling, unless that is taken: the same place each time keeps the URLs of results good.
const devSimAddr = "127.0.0.1:8082"

func (p *program) devCommand() *cobra.Command {
	var sim simulation
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run the bridge with a simulated Kling, no account needed",
		Long: `Run the bridge with its embedded NATS server and a simulated Kling. No account is needed and nothing is paid: results are
small sample files. It obeys the same variables as serve, except that Kling is always simulated: KLING_BASE_URL is used
only if it is on this machine, such as that of "klingbridge sim".

The flags are the simulation's: faults are probabilities from 0 to 1.`,
		Example: "  klingbridge dev\n  klingbridge dev --lose-callback 0.3 --slots video=2",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			sim.submittedGiven = cmd.Flags().Changed("submitted-time")
			sim.anyPort = !cmd.Flags().Changed("addr")
			return p.dev(cmd.Context(), sim)
		},
	}
	sim.flags(cmd.Flags())
	for name, value := range map[string]string{
		"addr": devSimAddr, "task-time": devDuration.String(), "submitted-time": devSubmitted.String(),
	} {
		flag := cmd.Flags().Lookup(name)
		flag.DefValue = value
		_ = flag.Value.Set(value) // our own constants parse
	}
	addr := cmd.Flags().Lookup("addr")
	addr.DefValue, addr.Usage = "", "where to simulate Kling (default "+devSimAddr+", or any free port where that is taken)"
	return cmd
}

// withAccount returns the environment with the simulation's own account, where it names none.
func withAccount(environ map[string]string) map[string]string {
	with := maps.Clone(environ)
	if strings.TrimSpace(with["KLING_API_KEY"]) == "" && strings.TrimSpace(with["KLING_ACCOUNTS"]) == "" {
		with["KLING_API_KEY"] = simAPIKey
	}
	return with
}

func (p *program) dev(ctx context.Context, sim simulation) error {
	if len(sim.accounts) > 0 {
		return usageError{errors.New(`dev simulates one account; start "klingbridge sim --account …", and dev with the variables that it prints`)}
	}
	environ := withAccount(p.environ)
	simulate := !onThisMachine(environ["KLING_BASE_URL"])
	if simulate {
		if environ["KLING_BASE_URL"] != "" {
			fmt.Fprintln(p.stderr, "klingbridge dev always simulates Kling: KLING_BASE_URL is not used")
		}
		delete(environ, "KLING_BASE_URL")
	}
	dev := *p
	dev.environ = environ
	s, err := dev.settings(true)
	if err != nil {
		return err
	}
	s.simulated = true
	options, err := sim.complete(s)
	if err != nil {
		return err
	}
	l, err := listen(ctx, s)
	if err != nil {
		return err
	}
	defer l.close()
	if s.PublicURL == "" {
		s.PublicURL = localURL(l.callback.Addr())
	}
	if simulate {
		likeSettings(&options, s)
		simURL, stop, err := startSim(ctx, sim, options)
		if err != nil {
			return err
		}
		defer stop()
		s.KlingBaseURL = simURL
		for i := range s.Named {
			s.Named[i].BaseURL = simURL
		}
	}
	if s.archive.Allow, err = simulatedFiles(s); err != nil {
		return err
	}
	return dev.serveAndGreet(ctx, s, l, simulate)
}

// likeSettings has the simulated Kling know the credentials of the bridge.
func likeSettings(o *klingtest.Options, s settings) {
	for _, a := range s.Accounts() {
		o.APIKeys = append(o.APIKeys, a.APIKey.Reveal())
	}
	if secrets := s.KlingWebhookSecret.Reveal(); o.WebhookSecret == "" && len(secrets) > 0 {
		o.WebhookSecret = secrets[0]
	}
	o.EndForgotten = true
}

// simulatedFiles are the hosts that results may be archived from: the simulated Kling serves its files on this machine.
func simulatedFiles(s settings) (archive.Hosts, error) {
	u, err := url.Parse(s.KlingBaseURL)
	if err != nil {
		return nil, err
	}
	return append(slices.Clone(s.archive.Allow), u.Host), nil
}

// serveAndGreet greets once the bridge takes requests: what can't start says why, and nothing to try.
func (p *program) serveAndGreet(ctx context.Context, s settings, l listeners, simulate bool) error {
	ctx, cancel := context.WithCancel(ctx)
	var greeting sync.WaitGroup
	greeting.Go(func() {
		if waitReady(ctx, l) {
			p.greet(s, l, simulate)
		}
	})
	err := p.serve(ctx, s, l)
	cancel()
	greeting.Wait()
	return err
}

// startSim serves a simulated Kling and returns its URL and what stops it and waits for it.
func startSim(ctx context.Context, s simulation, options klingtest.Options) (simURL string, stop func(), err error) {
	sim, err := klingtest.New(options)
	if err != nil {
		return "", nil, usageError{err}
	}
	s.retire(sim)
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", s.addr)
	if errors.Is(err, syscall.EADDRINUSE) && s.anyPort {
		listener, err = new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	}
	if err != nil {
		sim.Close()
		return "", nil, fmt.Errorf("listen for the simulated Kling (--addr): %w", err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the bridge's last calls are still answered
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = serveUntilDone(ctx, listener, sim) // a simulation that ends badly harms nobody
	}()
	return "http://" + listener.Addr().String(), func() {
		cancel()
		sim.Close()
		<-done
	}, nil
}

// onThisMachine reports whether a base URL leads to a loopback address.
func onThisMachine(base string) bool {
	u, err := url.Parse(base)
	if err != nil || base == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// localURL is where a listener is reached from this machine.
func localURL(addr net.Addr) string {
	host, port, _ := net.SplitHostPort(addr.String()) // a TCP address has both
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// lifetimes says what outlives the process and what does not.
func lifetimes(s settings, simulate bool) string {
	var text string
	if simulate {
		text += fmt.Sprintf(`Simulated tasks end with this process. Started again, it fails those that were in flight when they are polled,
up to %s after their submission (BRIDGE_POLL_AFTER). Results can be fetched while it simulates Kling at the
same address (--addr).
`, short(s.PollAfter))
	}
	if busOptions(s).Embedded() {
		text += "Requests and events are kept; to begin anew: rm -r " + shellQuote(s.DataDir) + "\n"
	}
	return text
}

// short leaves out the zeros at the end of a duration.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// pathHint is a line that lets the shell find this program, unless it does.
func (p *program) pathHint() string {
	program, err := os.Executable()
	dir := filepath.Dir(program)
	if err != nil || slices.Contains(filepath.SplitList(p.environ["PATH"]), dir) {
		return ""
	}
	return "  export PATH=" + shellQuote(dir) + ":$PATH\n"
}

func (p *program) greet(s settings, l listeners, simulate bool) {
	fmt.Fprintf(p.stderr, `klingbridge dev: Kling is SIMULATED, results are sample files, nothing is paid.

  NATS       %s
  Kling      %s (simulated)
  callbacks  %s
  console    %s

%s
Try in a second terminal:

%s  klingbridge submit text2video --set model_name=kling-v3 --prompt "a lighthouse in a storm" --wait
  klingbridge try       # a request of each fate
  klingbridge watch
  nats sub 'kling.completion.>'
  nats req kling.request.text2video '{"model_name":"kling-v3","prompt":"a lighthouse in a storm"}'

`, natsOptions(s).Where(), s.KlingBaseURL, s.PublicURL, localURL(l.admin.Addr()), lifetimes(s, simulate), p.pathHint())
}
