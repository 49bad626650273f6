package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/bridge/api"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

const (
	serviceName = "klingbridge"

	// lastCompletions are looked at; fewer than fewCompletions say nothing about callbacks.
	lastCompletions = 100
	fewCompletions  = 5
	// pollShare is how many completions may come by poll before something is wrong: a callback is lost now and then.
	pollShare = 0.2
)

// Simulated reports whether all bridges that answer simulate Kling, and there are some.
func Simulated(ctx context.Context, o Options) bool {
	e := &examination{Options: o}
	defer e.close()
	e.perform(ctx, e.natsCheck())
	return e.simulated()
}

// findBridges gathers what the replicas say of themselves. Where that may not be asked, none answers.
func (e *examination) findBridges(ctx context.Context) {
	subject, err := micro.ControlSubject(micro.PingVerb, serviceName, "")
	if err != nil {
		return
	}
	_ = e.gather(ctx, subject, func(reply *nats.Msg) {
		var ping micro.Ping
		if json.Unmarshal(reply.Data, &ping) == nil {
			e.bridges = append(e.bridges, ping.ServiceIdentity)
		}
	})
}

func (e *examination) simulated() bool {
	return len(e.bridges) > 0 && !slices.ContainsFunc(e.bridges, func(b micro.ServiceIdentity) bool {
		return b.Metadata[api.MetadataSimulated] != "true"
	})
}

// public is BRIDGE_PUBLIC_URL or, unset beside dev, what that takes instead.
func (e *examination) public() string {
	if e.Bridge.PublicURL == "" && e.simulated() {
		return e.bridges[0].Metadata[api.MetadataPublicURL]
	}
	return e.Bridge.PublicURL
}

// runningBridges counts the replicas that answer, and the versions among them.
func (e *examination) runningBridges(context.Context) []Finding {
	if len(e.bridges) == 0 {
		return note("no bridge answers as a NATS service here", `start one with "klingbridge serve"`)
	}
	versions := map[string]bool{}
	for _, b := range e.bridges {
		versions[cmp.Or(b.Metadata[api.MetadataVersion], b.Version)] = true
	}
	if len(versions) > 1 {
		return note(fmt.Sprintf("%d replicas run, of versions %s", len(e.bridges), joinSet(versions)), "finish the upgrade")
	}
	text := fmt.Sprintf("%s, version %s", plural(len(e.bridges), "replica runs", "replicas run"), joinSet(versions))
	if e.simulated() {
		text += ", with a simulated Kling"
	}
	return ok("%s", text)
}

// readiness asks a bridge how it is: over NATS, or else over HTTP on this machine.
func (e *examination) readiness(ctx context.Context) []Finding {
	if status, answered := e.status(ctx); answered {
		return e.statusFindings(status)
	}
	ready, answered := e.ready(ctx)
	if !answered {
		return note("no bridge answers on NATS or at "+e.AdminURL, "")
	}
	if *ready.Ready {
		return ok("the bridge at %s is ready", e.AdminURL)
	}
	var reasons []string
	for _, r := range ready.Reasons {
		reasons = append(reasons, r.Component+": "+r.Reason)
	}
	return notReady(reasons)
}

// readyAnswer is what a bridge says at /readyz.
type readyAnswer struct {
	Ready   *bool `json:"ready"`
	Reasons []struct {
		Component string `json:"component"`
		Reason    string `json:"reason"`
	} `json:"reasons"`
}

// ready asks the bridge on this machine over HTTP.
func (e *examination) ready(ctx context.Context) (answer readyAnswer, answered bool) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	err := getJSON(ctx, e.AdminURL+"/readyz", &answer)
	return answer, err == nil && answer.Ready != nil
}

func notReady(reasons []string) []Finding {
	return fault("the bridge is not ready: "+strings.Join(reasons, "; "), readyAdvice(reasons))
}

// status asks any replica. It may be too old to answer, or there may be none.
func (e *examination) status(ctx context.Context) (s events.BridgeStatus, answered bool) {
	if e.bus == nil {
		return s, false
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	subject := e.Bridge.Subjects.API(events.EndpointStatus)
	reply, err := e.bus.Conn().RequestWithContext(ctx, subject, nil)
	if err != nil || reply.Header.Get(micro.ErrorCodeHeader) != "" {
		return s, false
	}
	return s, json.Unmarshal(reply.Data, &s) == nil
}

func (e *examination) statusFindings(s events.BridgeStatus) []Finding {
	var findings []Finding
	for _, pool := range s.Pools {
		for _, a := range pool.Accounts {
			if text := e.accountTrouble(pool, a); text != "" {
				findings = append(findings, warning(text, "its tasks end when it can be asked again; until then other accounts do the work")...)
			}
		}
		if len(pool.Paused) > 0 {
			findings = append(findings, warning(fmt.Sprintf("pool %s is paused: %s", pool.Pool, strings.Join(pool.Paused, "; ")),
				"its requests wait; mend what it names")...)
		}
	}
	if !s.Ready {
		return append(notReady(s.Reasons), findings...)
	}
	return append(findings, ok("ready; %s, %d in flight", plural(s.QueueDepth, "request waits", "requests wait"), s.InFlight)...)
}

// accountTrouble says what is wrong with an account while others do its work; empty: nothing.
func (e *examination) accountTrouble(pool events.PoolStatus, a events.AccountStatus) string {
	text := fmt.Sprintf("account %s, pool %s: ", a.Account, pool.Pool)
	ours := slices.ContainsFunc(e.Accounts, func(of Account) bool { return cmp.Or(of.Name, kling.DefaultAccount) == a.Account })
	switch {
	case !ours && a.InFlight > 0:
		return text + fmt.Sprintf("%d slots are taken by its tasks, and it is not configured here (KLING_ACCOUNTS)", a.InFlight)
	case len(a.Paused) > 0 && len(pool.Paused) == 0:
		return text + strings.Join(a.Paused, "; ")
	default:
		return ""
	}
}

func getJSON(ctx context.Context, url string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(into)
}

// callbacks looks at how the last completions came. A bridge whose callbacks don't arrive works all the same, by
// polling, and nobody notices.
func (e *examination) callbacks(ctx context.Context) []Finding {
	completions, err := e.newestCompletions(ctx)
	if err != nil {
		return warning("the last completions can't be read: "+err.Error(), "")
	}
	came := map[events.Source]int{}
	for _, m := range completions {
		came[events.Source(m.Header.Get(events.HeaderSource))]++
	}
	polled, called := came[events.SourcePoll], came[events.SourceCallback]
	total := polled + called
	if total == 0 {
		return note("no task has ended yet, so nothing is known", "")
	}
	text := fmt.Sprintf("of the last %s %d came by callback and %d by poll, since %s", plural(total, "result", "results"),
		called, polled, completions[0].Time.UTC().Format(time.RFC3339))
	switch {
	case e.public() == "":
		return note(text+"; without BRIDGE_PUBLIC_URL there are no callbacks", "")
	case total >= fewCompletions && float64(polled) > pollShare*float64(total):
		return warning(text+": callbacks do not arrive", "look at the public url above, and at what a proxy or firewall does to a POST of Kling; \"klingbridge task list --source poll\" names the tasks")
	default:
		return ok("%s", text)
	}
}

// newestCompletions returns about the last hundred completions, and at least as many if there are.
func (e *examination) newestCompletions(ctx context.Context) ([]*bus.Message, error) {
	s := e.Bridge.Subjects
	return e.newest(ctx, s.EventsStream(), s.AllCompletions(), lastCompletions)
}

// newest returns n to 2 n of the last messages on a subject, or all there are.
func (e *examination) newest(ctx context.Context, stream, subject string, n int) (found []*bus.Message, err error) {
	last, err := e.bus.Last(ctx, stream, subject)
	if errors.Is(err, bus.ErrNoMessage) || errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	from, err := e.bus.NewestFrom(ctx, stream, subject, last.Seq+1, n)
	if err != nil {
		return nil, err
	}
	err = e.bus.Scan(ctx, stream, subject, from, 2*n, func(m *bus.Message) bool {
		found = append(found, m)
		return m.Seq < last.Seq
	})
	return found, err
}

// manyDead is how many dead letters are worth counting.
const manyDead = 500

func (e *examination) deadLetters(ctx context.Context) []Finding {
	s := e.Bridge.Subjects
	dead, err := e.newest(ctx, s.DeadStream(), s.AllDead(), manyDead)
	if err != nil {
		return warning("the dead letters can't be read: "+err.Error(), "")
	}
	yesterday := time.Now().Add(-24 * time.Hour)
	dead = slices.DeleteFunc(dead, func(m *bus.Message) bool { return m.Time.Before(yesterday) })
	n := len(dead)
	if n == 0 {
		return ok("none in the last 24 hours")
	}
	count := plural(n, "request was rejected", "requests were rejected")
	if n >= manyDead {
		count = fmt.Sprintf("%d requests or more were rejected", manyDead)
	}
	return warning(count+" in the last 24 hours", `"klingbridge dead list" says why`)
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprint(n, " ", many)
}

func joinSet(set map[string]bool) string {
	var names []string
	for name := range set {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}
