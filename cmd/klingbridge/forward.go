package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/config"
	"github.com/klingbridge/klingbridge/events"
)

// forwarding is what the flags of forward say.
type forwarding struct {
	picking
	to, secret  string
	durable     string
	concurrency int
	timeout     time.Duration
	tries       int
}

const forwardLong = `Deliver completions to an HTTP endpoint until interrupted: each is one POST of the event as it is, signed by Standard
Webhooks (https://www.standardwebhooks.com), whose libraries verify it in a line. The headers are webhook-id, the same at
each try, webhook-timestamp and webhook-signature. The secret is that of --secret or BRIDGE_FORWARD_SECRET; without either
one is made up and printed, for this run.

An event is delivered when it is answered 2xx. Any other answer and none at all is tried again after 1 s, 2 s, 4 s and so
on up to 10 min, or after what Retry-After says. Redirects are not followed. After --tries answers that refuse an event
(any but 408, 425, 429, 502, 503 and 504, which say that nobody is there) it is set aside, and told of on stderr. 410 says
that the endpoint wants no more: forward ends, with exit code 1, and the event is kept for the next run.

Each event comes at least once, and may come twice where an answer was lost: tell them apart by webhook-id. With
--concurrency 1 events are tried in the order in which they were stored; one that is tried again comes later.

With --durable a consumer of that name remembers what was delivered: the next run goes on where this one ends, and several
at once share the work. Delete it with "nats consumer rm". Without, only events stored from now on are delivered.`

func (p *program) forwardCommand() *cobra.Command {
	var f forwarding
	cmd := &cobra.Command{
		Use:   "forward --to URL",
		Short: "Deliver completions to an HTTP endpoint, signed and tried again",
		Long:  forwardLong,
		Example: `  klingbridge forward --to http://localhost:3000/hook
  klingbridge forward --to https://example.com/hook --durable shop --status succeed --since 24h`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.forward(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.to, "to", "", "the endpoint's `URL`, http or https")
	flags.StringVar(&f.secret, "secret", "", "sign with this whsec_… `secret` (better: BRIDGE_FORWARD_SECRET)")
	f.addFlags(p, cmd, "completions", "; not with a consumer that exists", completionStatuses...)
	flags.StringVar(&f.durable, "durable", "", "`name` of a consumer that remembers what was delivered")
	flags.IntVar(&f.concurrency, "concurrency", 4, "deliveries at a time, 1 to 256")
	flags.DurationVar(&f.timeout, "timeout", 15*time.Second, "how long one try may take")
	flags.IntVar(&f.tries, "tries", 10, "refusals after which an event is set aside")
	return cmd
}

func (p *program) forward(ctx context.Context, f forwarding) error {
	endpoint, err := f.endpoint()
	if err != nil {
		return err
	}
	if err := f.check(); err != nil {
		return err
	}
	filter, err := f.filter(time.Now())
	if err != nil {
		return err
	}
	settings, err := p.settings(false)
	if err != nil {
		return err
	}
	webhook, err := p.forwardSecret(f, settings)
	if err != nil {
		return err
	}
	return p.onNATS(ctx, settings, need{login: true}, func(ctx context.Context, nc *link) error {
		d := &deliverer{
			forwarding: f, p: p, filter: filter, events: nc.client, webhook: webhook, endpoint: endpoint,
			client: &http.Client{
				Timeout:       f.timeout,
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			},
			refused: map[uint64]int{},
		}
		defer d.client.CloseIdleConnections()
		fmt.Fprintf(p.stderr, "forwarding completions to %s\n", endpoint.Redacted())
		return d.run(ctx)
	})
}

func (f forwarding) endpoint() (*url.URL, error) {
	if f.to == "" {
		return nil, usagef("name the endpoint: --to http://localhost:3000/hook")
	}
	u, err := url.Parse(f.to)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, usagef("--to: want a URL such as http://localhost:3000/hook") // it is not repeated: it may hold a password
	}
	return u, nil
}

// maxForwards bounds the deliveries at a time.
const maxForwards = 256

func (f forwarding) check() error {
	switch {
	case f.concurrency < 1 || f.concurrency > maxForwards:
		return usagef("--concurrency %d is not 1 to %d", f.concurrency, maxForwards)
	case f.tries < 1:
		return usagef("--tries %d is not above zero", f.tries)
	case f.timeout <= 0:
		return usagef("--timeout %s is not above zero", f.timeout)
	case f.durable != "" && !events.IsToken(f.durable):
		return usagef("--durable %q is not 1 to 64 of A-Z a-z 0-9 _ -", f.durable)
	default:
		return nil
	}
}

// secretBytes is the length of a secret that is made up: Standard Webhooks wants 24 to 64.
const secretBytes = 32

// forwardSecret is what deliveries are signed with. One that is made up is printed, once.
func (p *program) forwardSecret(f forwarding, s settings) (*kling.Webhook, error) {
	secret := f.secret
	if secret == "" {
		secret = s.ForwardSecret.Reveal()
	}
	given := secret != ""
	if !given {
		raw := make([]byte, secretBytes)
		_, _ = rand.Read(raw) // never fails
		secret = "whsec_" + base64.StdEncoding.EncodeToString(raw)
	}
	webhook, err := kling.NewWebhook([]string{secret})
	switch {
	case err != nil && f.secret == "":
		return nil, config.Faults{{Variable: "BRIDGE_FORWARD_SECRET", Problem: "want whsec_ and base64"}}
	case err != nil:
		return nil, usagef("--secret: want whsec_ and base64")
	case !given:
		fmt.Fprintf(p.stdout, "export BRIDGE_FORWARD_SECRET=%s\n", secret)
	}
	return webhook, nil
}
