package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"
	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge/api"
	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

const (
	// tryTimeout bounds each try: a pause ends with the next probe, after BRIDGE_PROBE_INTERVAL.
	tryTimeout = 3 * time.Minute
	// tryInterval is how often the bridge is asked what a request waits for.
	tryInterval = 100 * time.Millisecond
	// findTime is how long bridges are given to answer who they are, and quietTime how long one is waited for after another.
	findTime  = 2 * time.Second
	quietTime = 300 * time.Millisecond
)

// attempt is a request that shows one thing a bridge does.
type attempt struct {
	name    string
	body    events.Body
	timeout time.Duration
	ends    events.Status
	waits   string // what its waits_for has to have in it, meanwhile; empty: it need not wait
}

// attempts are one of each. The marks in their prompts are for the simulated Kling: see promptMarks.
func attempts() []attempt {
	video := func(prompt string) events.Body { return body.Text2Video{ModelName: "kling-v3", Prompt: prompt} }
	return []attempt{
		{name: "succeeds", body: video("a lighthouse in a storm"), ends: events.StatusSucceed},
		{name: "fails", body: video("fail: the lamp went out"), ends: events.StatusFailed},
		{name: "is rejected", body: video("a lighthouse [policy]"), ends: events.StatusRejected},
		{name: "expires", body: video("a lighthouse, at once"), timeout: time.Millisecond, ends: events.StatusExpired},
		{name: "waits", body: video("a lighthouse, later " + markBusy), ends: events.StatusSucceed, waits: "Kling:"},
		{name: "is paused", body: body.Raw(events.KindImageGenerations, json.RawMessage(`{"model_name":"kling-v2-1","prompt":"a lighthouse `+markCredit+`"}`)), ends: events.StatusSucceed, waits: "pause"},
	}
}

func (p *program) tryCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "try",
		Short: "Send a request of each fate to a bridge whose Kling is simulated",
		Long: `Send one request each that succeeds, fails, is rejected, expires, waits and is paused, and print a line for each as it ends:
what was expected, and what came. It is for a bridge that runs beside it, of "klingbridge dev" or with "klingbridge sim"; with
the real Kling it would be charged for, and is refused.

The one that is paused meets an account without credit: requests for images wait until the bridge probes again, after
BRIDGE_PROBE_INTERVAL. The one that is rejected leaves a dead letter.

With --json each line is a JSON object: try, request_id, expected and outcome: a status; waited_for: in words, or empty; error:
of the outcome, in words, or empty; as_expected.

Exits 0 when all went as expected, else 1; 2 beside a bridge that uses the real Kling.`,
		Example: "  klingbridge try",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return p.try(cmd.Context(), asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the lines as JSON objects")
	return cmd
}

// tried is what became of an attempt.
type tried struct {
	Try        string        `json:"try"`
	RequestID  string        `json:"request_id"`
	Expected   events.Status `json:"expected"`
	Outcome    events.Status `json:"outcome"`
	WaitedFor  string        `json:"waited_for"`
	Error      string        `json:"error"`
	AsExpected bool          `json:"as_expected"`

	took time.Duration
}

func (p *program) try(ctx context.Context, asJSON bool) error {
	s, err := p.settings(false)
	if err != nil {
		return err
	}
	return p.onNATS(ctx, s, need{}, func(ctx context.Context, nc *link) error {
		if err := onlySimulated(ctx, nc.Conn); err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		all := attempts()
		ended := make(chan tried, len(all))
		run := nuid.Next()
		for i, a := range all {
			running.Go(func() { ended <- a.run(ctx, nc.client, fmt.Sprintf("try-%s-%d", run, i+1)) })
		}
		good := 0
		for range all {
			t := <-ended
			if t.AsExpected {
				good++
			}
			if err := p.printTried(t, asJSON); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return errors.New("interrupted; the requests go on")
		}
		fmt.Fprintf(p.stderr, "%d of %d as expected\n", good, len(all))
		if good < len(all) {
			return errSilent
		}
		return nil
	})
}

// onlySimulated refuses bridges that use the real Kling, and a NATS system without any.
func onlySimulated(ctx context.Context, nc *nats.Conn) error {
	subject, err := micro.ControlSubject(micro.PingVerb, "klingbridge", "")
	if err != nil {
		return err
	}
	answers, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		return err
	}
	defer func() { _ = answers.Unsubscribe() }() // the connection is closed next
	if err := nc.PublishRequest(subject, answers.Subject, nil); err != nil {
		return err
	}
	found := false
	for patience := findTime; ; patience = quietTime {
		within, cancel := context.WithTimeout(ctx, patience)
		msg, err := answers.NextMsgWithContext(within)
		cancel()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !found:
			return fmt.Errorf("%w; start one with \"klingbridge dev\"", events.ErrNoAnswer)
		case err != nil:
			return nil
		}
		var ping micro.Ping
		if err := json.Unmarshal(msg.Data, &ping); err != nil {
			continue // nobody's answer
		}
		if ping.Metadata[api.MetadataSimulated] != "true" {
			return usagef("the bridge here uses the real Kling, which charges for each request of try: run it beside \"klingbridge dev\"")
		}
		found = true
	}
}

// run sends the request and follows it to its end.
func (a attempt) run(ctx context.Context, client *events.Client, id string) tried {
	began := time.Now()
	t := tried{Try: a.name, RequestID: id, Expected: a.ends}
	ctx, cancel := context.WithTimeoutCause(ctx, tryTimeout, fmt.Errorf("it has not ended within %s", tryTimeout))
	defer cancel()
	if _, err := client.Submit(ctx, a.body, events.Options{ID: id, Timeout: a.timeout}); err != nil {
		t.Error = err.Error()
		return t
	}
	if a.waits != "" {
		t.WaitedFor = a.seenWaiting(ctx, client, id)
	}
	ev, err := client.Await(ctx, id)
	t.took, t.Outcome = time.Since(began), ev.Status
	switch {
	case err != nil:
		t.Error = err.Error()
	case ev.Error != nil:
		t.Error = reason(ev)
	}
	t.AsExpected = t.Outcome == a.ends && (a.waits == "" || t.WaitedFor != "")
	return t
}

// seenWaiting returns what the request waits for as soon as that is what is expected; empty: it ended without.
func (a attempt) seenWaiting(ctx context.Context, client *events.Client, id string) string {
	for waited(ctx, tryInterval) {
		task, err := client.Task(ctx, id)
		if err == nil && strings.Contains(task.WaitsFor, a.waits) {
			return task.WaitsFor
		}
		if err == nil && task.Status.Terminal() {
			return ""
		}
	}
	return ""
}

func (p *program) printTried(t tried, asJSON bool) error {
	if asJSON {
		return p.printJSON(t)
	}
	verdict := "as expected"
	if !t.AsExpected {
		verdict = "UNEXPECTED "
	}
	outcome := string(t.Outcome)
	if outcome == "" {
		outcome = "no end"
	}
	if t.Error != "" {
		outcome += ": " + t.Error
	}
	if t.WaitedFor != "" {
		outcome += ", after it waited for " + t.WaitedFor
	}
	_, err := fmt.Fprintf(p.stdout, "%s  %-11s  want %-8s  %5.1fs  %s\n", verdict, t.Try, t.Expected, t.took.Seconds(), printable(outcome))
	return err
}
