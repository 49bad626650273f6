package kling

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
)

// DefaultBaseURL is Kling's endpoint outside mainland China, which serves both API generations (its API reference,
// 2026-10). Keys are bound to their region.
const DefaultBaseURL = "https://api-singapore.klingai.com"

const defaultTimeout = 60 * time.Second

// Options configures a [Client]. Credentials are required.
type Options struct {
	// BaseURL is where Kling is, with or without a trailing /v1. Plain http is for loopback only. Empty: DefaultBaseURL.
	BaseURL     string
	Credentials Credentials
	// Timeout bounds one call, from connecting to the last byte of the answer. Zero: 60 s. A body adds a second for each
	// whole 256 KiB.
	Timeout time.Duration
	// Transport carries the calls. It should honour net/http/httptrace, as http.Transport does: of one that doesn't, every
	// error of a create call means an unknown outcome. Nil: an http.Transport of the client's own.
	Transport      http.RoundTripper
	TracerProvider trace.TracerProvider // nil: the global one
	Now            func() time.Time     // nil: time.Now
}

// Client calls Kling's API. Its methods may be called concurrently; each fails with an [*Error].
type Client struct {
	base      string // without a trailing slash
	timeout   time.Duration
	now       func() time.Time
	auth      *authorizer
	http      *http.Client
	transport http.RoundTripper
	observe   func(context.Context, Call) // nil: nobody is told
	fence     func() error                // of create calls; nil: none

	plainHTTP1 bool // connections without TLS have HTTP/1, for all that is known of the transport
}

// NewClient returns a client. It makes no call yet.
func NewClient(o Options) (*Client, error) {
	base, err := parseBaseURL(cmp.Or(o.BaseURL, DefaultBaseURL))
	if err != nil {
		return nil, fmt.Errorf("kling client: %w", err)
	}
	if err := o.Credentials.validate(); err != nil {
		return nil, fmt.Errorf("kling client: %w", err)
	}
	if o.Timeout < 0 {
		return nil, fmt.Errorf("kling client: timeout %s is negative", o.Timeout)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	plainHTTP1 := o.Transport == nil
	if plainHTTP1 {
		o.Transport = newTransport()
	}
	return &Client{
		base:      base,
		timeout:   cmp.Or(o.Timeout, defaultTimeout),
		now:       o.Now,
		auth:      &authorizer{credentials: o.Credentials, now: o.Now},
		http:      newHTTPClient(o.Transport, o.TracerProvider),
		transport: o.Transport, plainHTTP1: plainHTTP1,
	}, nil
}

// newHTTPClient follows no redirect: Kling's API has none, and a followed one would turn a create into a GET.
func newHTTPClient(transport http.RoundTripper, provider trace.TracerProvider) *http.Client {
	return &http.Client{
		Transport:     newExchanges(transport, provider, otel.GetMeterProvider()),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func newTransport() *http.Transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         dialer.DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 128, // all calls go to one host; the default of 2 would dial for nearly each of a burst
		// Shorter than the 60 s after which load balancers commonly hang up: a create that meets a connection just being
		// closed has an unknown outcome.
		IdleConnTimeout:   45 * time.Second,
		ForceAttemptHTTP2: true,
		// One dead HTTP/2 connection would hold every call until its timeout.
		HTTP2: &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
	}
}

func parseBaseURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Hostname() == "" { // the error would quote the URL, with whatever is in it
		return "", errors.New("base URL: want https://host")
	}
	switch {
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return "", fmt.Errorf("base URL %s: want https; http is for loopback only", u.Redacted())
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("base URL of host %s: want no user, query or fragment", u.Host)
	}
	path := strings.TrimRight(u.EscapedPath(), "/")
	path = strings.TrimRight(strings.TrimSuffix(path, "/v1"), "/") // the paths of kinds begin with it
	return u.Scheme + "://" + u.Host + path, nil
}

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback()
}

// String names the host only: the rest holds credentials.
func (c *Client) String() string { return "kling client of " + c.base }

// GoString is String for %#v.
func (c *Client) GoString() string { return c.String() }

// HasAPIKey reports whether calls carry an API key. All but /v1 and /account refuse an access-key pair (recorded 2026-09:
// HTTP 401, code 1002).
func (c *Client) HasAPIKey() bool { return c.auth.credentials.APIKey != "" }

// Close closes idle connections. Calls under way go on.
func (c *Client) Close() {
	// Not by way of c.http: the tracing transport between does not pass it on.
	if t, ok := c.transport.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// Create makes a task. The body, which may come in pieces, is forwarded byte for byte; the model is used by V2 kinds
// only. The task it returns always has an id.
//
// With [ActionLookup] a task may exist, with any other action none was made. A call whose ctx ends before anything was
// sent fails with [ActionRetry].
func (c *Client) Create(ctx context.Context, k Kind, model string, body ...[]byte) (task Task, err error) {
	r := request{
		op: opCreate, kind: k.Name, method: http.MethodPost, path: k.CreatePath(pathSegment(model)), body: body, changes: true,
	}
	done := c.watch(ctx, r.op)
	defer func() { done(err) }()
	a, err := c.call(ctx, r)
	if err != nil {
		return Task{}, err
	}
	tasks, err := decodeTasks(a.data)
	if err != nil {
		return Task{}, r.malformed(a, err)
	}
	if len(tasks) != 1 {
		return Task{}, r.malformed(a, fmt.Errorf("want one task, got %d", len(tasks)))
	}
	return tasks[0], nil
}

// CheckCredentials asks for the account's costs, which is free and creates nothing. Kling allows one such call a
// second. The answer has a code of its own inside (Kling's account page, 2026-09), and fails the call as the outer one
// does.
func (c *Client) CheckCredentials(ctx context.Context) (err error) {
	r := request{op: "check credentials", method: http.MethodGet}
	done := c.watch(ctx, r.op)
	defer func() { done(err) }()
	now := c.now()
	period := url.Values{
		"start_time": {strconv.FormatInt(now.Add(-24*time.Hour).UnixMilli(), 10)},
		"end_time":   {strconv.FormatInt(now.UnixMilli(), 10)},
	}
	r.path = "/account/costs?" + period.Encode()
	a, err := c.call(ctx, r)
	if err != nil {
		return err
	}
	var costs struct {
		Code    json.RawMessage `json:"code"`
		Message json.RawMessage `json:"msg"`
	}
	if json.Unmarshal(a.data, &costs) != nil {
		return nil // the credentials are good, whatever this is
	}
	code, err := strconv.Atoi(readText(costs.Code))
	if err != nil || code == 0 {
		return nil
	}
	return r.refused(a, code, oneLine(readText(costs.Message)))
}
