package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	klingTimeout = 15 * time.Second

	// smallSkew is what the second of a Date header and the way of an answer can hide.
	smallSkew = 5 * time.Second
	// largeLag is how far a clock may be behind: a token is used until five minutes before it expires.
	largeLag = 5 * time.Minute
)

// Codes of Kling's error code page (2026-10) that ask for something in particular.
const (
	codeNotYetValid = 1003
	codeExpired     = 1004
	codeIPAddress   = 1304
)

// credentials asks Kling for the account's costs, which is free.
func (e *examination) credentials(ctx context.Context) []Finding {
	if e.NoAccount {
		return note("simulated by the bridge that runs here: there is no account to ask", "")
	}
	e.dates = &dateWatch{Transport: &http.Transport{Proxy: http.ProxyFromEnvironment}}
	var findings []Finding
	for _, a := range e.Accounts {
		for _, f := range e.credentialsOf(ctx, a) {
			f.Message = a.named(f.Message)
			findings = append(findings, f)
		}
	}
	return findings
}

func (e *examination) credentialsOf(ctx context.Context, a Account) []Finding {
	o := a.Kling
	if o.Timeout == 0 || o.Timeout > klingTimeout {
		o.Timeout = klingTimeout
	}
	o.Transport = e.dates
	client, err := kling.NewClient(o)
	if err != nil {
		return fault(err.Error(), "check the KLING_* variables")
	}
	defer client.Close()
	err = client.CheckCredentials(ctx)
	if failure, failed := errors.AsType[*kling.Error](err); failed {
		return refused(o, failure)
	}
	if o.Credentials.APIKey == "" {
		return ok("%s accepts the key pair, which is good for the older API only", o.BaseURL)
	}
	return ok("%s accepts the API key", o.BaseURL)
}

func refused(o kling.Options, failure *kling.Error) []Finding {
	text := o.BaseURL + ": " + strings.TrimPrefix(failure.Error(), "kling: ")
	switch {
	case failure.Class == kling.ClassCapacity:
		return warning(text, "Kling takes this question once a second: ask again in a moment")
	case failure.Code == codeNotYetValid || failure.Code == codeExpired:
		return fault(text, "set the clock of this machine: the token that a key pair signs carries its time")
	case failure.Code == codeIPAddress:
		return fault(text, "add this machine's address to the allow-list in Kling's console")
	case failure.Class == kling.ClassAuth:
		return fault(text, "check KLING_API_KEY, or KLING_ACCESS_KEY and KLING_SECRET_KEY; a key is good in its own region only (KLING_BASE_URL)")
	case failure.Class == kling.ClassAccount || failure.Class == kling.ClassPermission:
		return fault(text, "look at the account in Kling's console")
	case failure.HTTPStatus == 0:
		return fault(text, "check the network, DNS, HTTPS_PROXY and KLING_BASE_URL")
	case failure.HTTPStatus >= http.StatusInternalServerError:
		return fault(text, "Kling has trouble of its own: try again later")
	default:
		return fault(text, "is KLING_BASE_URL right? That host does not answer as Kling's API does")
	}
}

// clock compares this machine's clock with that of Kling.
func (e *examination) clock(context.Context) []Finding {
	if e.NoAccount {
		return note("the simulated Kling goes by this machine's", "")
	}
	if e.dates == nil || !e.dates.seen {
		return skipped("Kling has not told the time")
	}
	skew := e.dates.ahead.Abs().Round(time.Second)
	if skew <= smallSkew {
		return ok("agrees with Kling's")
	}
	where := "behind"
	if e.dates.ahead > 0 {
		where = "ahead of"
	}
	text := fmt.Sprintf("this machine's clock is %s %s Kling's", skew, where)
	const advice = "synchronise it (NTP)"
	pair := slices.ContainsFunc(e.Accounts, func(a Account) bool { return a.Kling.Credentials.APIKey == "" })
	signed := slices.ContainsFunc(e.Accounts, func(a Account) bool { return a.WebhookSecrets > 0 })
	switch {
	case pair && (e.dates.ahead > kling.TokenBackdate || e.dates.ahead < -largeLag):
		return fault(text+": Kling refuses the tokens that the key pair signs", advice)
	case signed && skew > kling.WebhookTolerance:
		return fault(text+": signed callbacks are refused as too old or too new", advice)
	default:
		return warning(text, advice)
	}
}

// dateWatch notes how far the clock is ahead of the one that dates Kling's answers. It is used by one call at a time.
type dateWatch struct {
	*http.Transport
	seen  bool
	ahead time.Duration
}

// RoundTrip implements [http.RoundTripper].
func (d *dateWatch) RoundTrip(req *http.Request) (*http.Response, error) {
	began := time.Now()
	res, err := d.Transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if date, err := http.ParseTime(res.Header.Get("Date")); err == nil {
		const halfSecond = time.Second / 2 // the header leaves out what is below a second
		now := began.Add(time.Since(began) / 2)
		d.seen, d.ahead = true, now.Sub(date.Add(halfSecond))
	}
	return res, nil
}
