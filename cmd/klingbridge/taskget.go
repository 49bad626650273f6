package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

func (p *program) taskGetCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "get <request id>",
		Short: "Show what is known of one request",
		Long: `Show what is known of one request, whether it waits, is in flight or has ended.

With --json the bridge's answer is printed, an object with a key task, which has:
` + taskFields + resultField,
		Example:           "  klingbridge task get order-42",
		Args:              someIDs(1),
		ValidArgsFunction: p.completeIDs(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.ask(cmd.Context(), func(ctx context.Context, c *events.Client) error {
				task, err := c.Task(ctx, args[0])
				if err != nil {
					return err
				}
				if asJSON {
					return p.printJSON(events.TaskAnswer{Task: task})
				}
				return p.printTask(task)
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the answer as JSON")
	return cmd
}

// someIDs wants request ids as arguments, at most that many; 0: any number.
func someIDs(most int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usagef("name a request id")
		case most > 0 && len(args) > most:
			return usagef("unexpected argument %q", args[most])
		case slices.Contains(args, ""):
			return usagef("a request id is empty")
		}
		for _, id := range args {
			if err := checkID("request id", id); err != nil {
				return err
			}
		}
		return nil
	}
}

func (p *program) printTask(t events.Task) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "%s\t%s\n", name, printable(value))
		}
	}
	row("request", t.RequestID)
	row("replay of", t.ReplayOf)
	row("kind", t.Kind)
	row("pool", t.Pool)
	fmt.Fprintf(w, "status\t%s\n", strings.TrimRight(p.status(p.stdout, t.Status), " "))
	if t.Before != nil {
		row("before it", fmt.Sprint(*t.Before))
	}
	row("waits for", t.WaitsFor)
	if t.Error != nil {
		row("error", t.Error.Error())
	}
	for _, try := range t.Tries {
		row("failed task", fmt.Sprintf("%s  %s  %s", try.TaskID, try.FailedAt, try.Message))
	}
	row("task", t.TaskID)
	row("external id", t.ExternalTaskID)
	if t.Account != kling.DefaultAccount { // which goes without saying
		row("account", t.Account)
	}
	row("requested", t.RequestedAt.String())
	row("submitted", orEmpty(t.SubmittedAt))
	row("next poll", orEmpty(t.NextPollAt))
	row("deadline", orEmpty(t.Deadline))
	row("completed", orEmpty(t.CompletedAt))
	row("by", string(t.Source))
	row("units", t.Units)
	result := "result"
	if t.Status != events.StatusSucceed {
		result = "late result"
	}
	for _, file := range resultFiles(t.Result) {
		row(result, file.url)
	}
	if t.Result != nil {
		row("expires", t.Result.ExpiresAt.String())
	}
	for _, name := range slices.Sorted(maps.Keys(t.Metadata)) {
		row("meta", name+"="+t.Metadata[name])
	}
	row("trace", t.TraceID)
	row("asked for", askedFor(t))
	return w.Flush()
}

// askedFor is the body of a request, as far as it is known.
func askedFor(t events.Task) string {
	switch {
	case t.BodyBytes == 0:
		return "not known"
	case t.BodyBytes > len(t.Body):
		return fmt.Sprintf("%s… (%d bytes)", t.Body, t.BodyBytes)
	default:
		return t.Body
	}
}

func orEmpty(t *events.Time) string {
	if t == nil {
		return ""
	}
	return t.String()
}
