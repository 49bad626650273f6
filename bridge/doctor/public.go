package doctor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/callback"
)

const publicTimeout = 10 * time.Second

func (e *examination) webhook(context.Context) []Finding {
	var findings []Finding
	for _, a := range e.Accounts {
		for _, f := range e.webhookOf(a) {
			f.Message = a.named(f.Message)
			findings = append(findings, f)
		}
	}
	return findings
}

func (e *examination) webhookOf(a Account) []Finding {
	unset := "KLING_WEBHOOK_SECRET is not set: the signed URL alone proves a callback"
	if a.Name != "" {
		unset = "no webhook secret is set: the signed URL alone proves a callback"
	}
	switch n := a.WebhookSecrets; {
	case n == 0 && e.simulated():
		return note(unset, "")
	case n == 0:
		return note(unset, "create a secret in Kling's console for a second proof")
	case n == 1:
		return ok("a secret is set: every callback must be signed with it")
	default:
		return ok("%d secrets are set: every callback must be signed with one of them", n)
	}
}

// publicURL goes the way of a callback, from outside in, and has the bridge at its end prove that it is of this system.
func (e *examination) publicURL(ctx context.Context) []Finding {
	public := e.public()
	if public == "" {
		return note("BRIDGE_PUBLIC_URL is not set: no callbacks, every task is polled", "")
	}
	secret, obstacle := e.callbackSecret(ctx)
	if obstacle != nil {
		return obstacle
	}
	question, proof := callback.SelfTest(public, secret, rand.Text())
	ctx, cancel := context.WithTimeoutCause(ctx, publicTimeout, fmt.Errorf("no answer within %s", publicTimeout))
	defer cancel()
	began := time.Now()
	reply, err := ask(ctx, question)
	took := max(time.Since(began).Round(time.Millisecond), time.Millisecond)
	if err != nil {
		return unreachableURL(public, err)
	}
	if reply.status != http.StatusOK || reply.body != proof {
		return wrongAnswer(public, reply)
	}
	byDefault := ""
	if e.Bridge.PublicURL == "" {
		byDefault = ", by default,"
	}
	findings := ok("%s%s reaches a bridge of this system, within %s", public, byDefault, took)
	local := func(a Account) bool { return onThisMachine(a.Kling.BaseURL) }
	if onThisMachine(public) && !slices.ContainsFunc(e.Accounts, local) && !e.simulated() {
		return append(findings, warning(public+" is an address of this machine, which Kling can't reach",
			"set BRIDGE_PUBLIC_URL to one that the internet can reach, or leave it out to poll only")...)
	}
	return findings
}

// callbackSecret returns what signs callback URLs, or the findings that say why there is none.
func (e *examination) callbackSecret(ctx context.Context) (string, []Finding) {
	if len(e.Bridge.CallbackSecrets) > 0 {
		return e.Bridge.CallbackSecrets[0], nil
	}
	if e.account == nil {
		return "", skipped("the callback secret is in JetStream, which does not answer")
	}
	secret, err := bridge.CallbackSecret(ctx, e.bus, e.Bridge.Subjects)
	switch {
	case errors.Is(err, bus.ErrNoMessage), errors.Is(err, jetstream.ErrStreamNotFound):
		return "", skipped("there is no callback secret yet: the first bridge makes it when it starts")
	case err != nil:
		return "", skipped("the callback secret can't be read: %v", err)
	default:
		return secret, nil
	}
}

// reply is an answer to the self-test.
type reply struct {
	status   int
	location string // of a redirect
	body     string
}

// maxReply is more than a proof, so that nothing longer is taken for one.
const maxReply = 1 << 10

// ask follows no redirect, as Kling does not.
func ask(ctx context.Context, question string) (reply, error) {
	client := &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, question, http.NoBody)
	if err != nil {
		return reply{}, err
	}
	res, err := client.Do(req)
	if err != nil {
		return reply{}, cause(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxReply))
	if err != nil {
		return reply{}, cause(ctx, err)
	}
	return reply{status: res.StatusCode, location: res.Header.Get("Location"), body: string(body)}, nil
}

// cause drops the URL around an error: it is long, and the finding names what matters of it.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		return wrapped.Err
	}
	return err
}

func unreachableURL(public string, err error) []Finding {
	text := fmt.Sprintf("%s can't be reached from this machine: %v", public, err)
	_, certificate := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case certificate:
		return fault(text, "get a certificate for that name that is valid (BRIDGE_TLS_*, or the proxy's): Kling calls no other")
	case errors.Is(err, http.ErrSchemeMismatch):
		return fault(text, "that port speaks plain HTTP: set BRIDGE_TLS_CERT and BRIDGE_TLS_KEY, or put a TLS proxy in front")
	default:
		return fault(text, "is the bridge running, and do DNS, firewall and proxy lead to BRIDGE_CALLBACK_ADDR?")
	}
}

func wrongAnswer(public string, r reply) []Finding {
	switch {
	case r.status >= 300 && r.status < 400:
		return fault(fmt.Sprintf("%s answers with a redirect (%d to %q), which Kling does not follow", public, r.status, r.location),
			"set BRIDGE_PUBLIC_URL to the URL at the end of the redirect, or stop the proxy from redirecting")
	case r.status == http.StatusNotFound:
		return fault(public+" leads to something else (404): another program, or a bridge with another callback secret",
			"check where proxy and DNS lead, and that all replicas have the same NATS system, prefix and BRIDGE_CALLBACK_SECRET")
	case r.status == http.StatusServiceUnavailable:
		return fault(public+" answers 503: the bridge there has no JetStream, or a proxy has no bridge", "look at /readyz of the bridge")
	case r.status == http.StatusBadGateway || r.status == http.StatusGatewayTimeout:
		return fault(fmt.Sprintf("%s answers %d: a proxy does not reach the bridge", public, r.status),
			"is the bridge running, and does the proxy lead to BRIDGE_CALLBACK_ADDR?")
	default:
		return fault(fmt.Sprintf("%s leads to something else, which answers %d", public, r.status), "check where proxy and DNS lead")
	}
}

// onThisMachine reports whether a URL names a loopback address.
func onThisMachine(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() == "localhost" || err == nil && ip.IsLoopback()
}
