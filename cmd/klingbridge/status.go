package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

func (p *program) statusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what the bridge has to do, and what keeps it from doing so",
		Long: `Show what the bridge has to do, and what keeps it from doing so, as one of its replicas sees it.

With --json the bridge's answer is printed, an object with:
version; ready, and reasons: why not; queue_depth: requests that are no task yet; in_flight: tasks that have not ended;
dead: dead letters; pools: for each of Kling's concurrency pools an object with pool, in_flight: slots that are taken,
limit: slots that Kling is known to give, null while it has not refused any; cap: as set in BRIDGE_CONCURRENCY, or null;
waiting: requests by priority (high, normal, low); paused: why nothing is sent; accounts: only where there are several, what each
has of the pool, with account, in_flight, limit, cap and paused; kling: how Kling has answered that replica, an object with
answered_at, failed_at (times or null), failure, and calls and errors of the last five minutes: errors are calls that failed for
no fault of a request.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.ask(cmd.Context(), func(ctx context.Context, c *events.Client) error {
				status, err := c.Status(ctx)
				if err != nil {
					return err
				}
				if asJSON {
					return p.printJSON(status)
				}
				return p.printStatus(status)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return cmd
}

func (p *program) printStatus(s events.BridgeStatus) error {
	ready := "ready"
	if !s.Ready {
		ready = "not ready"
	}
	fmt.Fprintf(p.stdout, "klingbridge %s, %s\n", printable(s.Version), ready)
	for _, reason := range s.Reasons {
		fmt.Fprintf(p.stdout, "  %s\n", printable(reason))
	}
	fmt.Fprintf(p.stdout, "requests waiting %d, tasks in flight %d, dead letters %d\n", s.QueueDepth, s.InFlight, s.Dead)
	if s.Kling != nil {
		fmt.Fprintf(p.stdout, "%s\n\n", printable(klingLine(*s.Kling, time.Now())))
	}
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "pool\tslots taken\tlimit\tcap\twaiting: high\tnormal\tlow\t")
	for _, pool := range s.Pools {
		paused := ""
		if len(pool.Paused) > 0 {
			paused = "paused"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%d\t%d\t%d\t%s\n", pool.Pool, pool.InFlight, orDash(pool.Limit), orDash(pool.Cap),
			pool.Waiting["high"], pool.Waiting["normal"], pool.Waiting["low"], paused)
		for _, a := range pool.Accounts {
			fmt.Fprintf(w, "  %s\t%d\t%s\t%s\t\t\t\t%s\n", printable(a.Account), a.InFlight, orDash(a.Limit), orDash(a.Cap),
				printable(strings.Join(a.Paused, "; ")))
		}
	}
	return w.Flush()
}

// klingLine sums up how Kling has answered.
func klingLine(k events.KlingStatus, now time.Time) string {
	ago := func(t *events.Time) string { return max(now.Sub(t.Time), 0).Round(time.Second).String() + " ago" }
	line := "Kling has not answered yet"
	if k.AnsweredAt != nil {
		line = "Kling answered " + ago(k.AnsweredAt)
	}
	line += fmt.Sprintf("; of %d calls in 5 min %d failed", k.Calls, k.Errors)
	if k.Errors > 0 && k.FailedAt != nil {
		line += fmt.Sprintf(" (%d %%), the last %s: %s", (100*k.Errors+k.Calls/2)/k.Calls, ago(k.FailedAt), k.Failure)
	}
	return line
}

func orDash(n *int) string {
	if n == nil {
		return "-"
	}
	return strconv.Itoa(*n)
}
