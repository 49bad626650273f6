package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

func (p *program) taskListCommand() *cobra.Command {
	var (
		list         listing
		status, kind string
		asJSON       bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List requests: those that have not ended, then the others, newest first",
		Long: `List requests: those that wait, in the order in which they are taken, those in flight, then those that have ended,
newest first. One that moves on meanwhile may be listed twice.

With --json each is printed as one JSON object per line, which has:
` + taskFields,
		Example: `  klingbridge task list --status failed --limit 20
  klingbridge task list --all --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := list.check(cmd, "status", "kind"); err != nil {
				return err
			}
			q := events.TaskQuery{Status: events.Status(status), Kind: kind}
			if status != "" && !slices.Contains(taskStatuses, q.Status) {
				return usagef("--status %q is not one of %s", status, words(taskStatuses))
			}
			return p.ask(cmd.Context(), func(c *events.Client) error {
				next := func(page events.PageQuery) ([]events.Task, string, error) {
					q.PageQuery = page
					answer, err := c.Tasks(cmd.Context(), q)
					return answer.Tasks, answer.Cursor, err
				}
				return pages(p, list, next, func(t events.Task) error { return p.printTaskLine(t, asJSON) })
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&status, "status", "", "only requests with this `status`")
	f.StringVar(&kind, "kind", "", "only requests of this `kind`")
	f.BoolVar(&asJSON, "json", false, "print the entries, one JSON object per line")
	list.addFlags(cmd)
	p.completeFlags(cmd, taskStatuses...)
	return cmd
}

// taskStatuses are all that a request may have.
var taskStatuses = []events.Status{
	events.StatusWaiting, events.StatusCreating, events.StatusSubmitted, events.StatusProcessing, events.StatusSucceed,
	events.StatusFailed, events.StatusRejected, events.StatusExpired, events.StatusCancelled,
}

func words(statuses []events.Status) string {
	var list []string
	for _, s := range statuses {
		list = append(list, string(s))
	}
	return strings.Join(list, ", ")
}

func (p *program) printTaskLine(t events.Task, asJSON bool) error {
	if asJSON {
		return p.printJSON(t)
	}
	columns := []string{t.RequestedAt.String(), p.status(p.stdout, t.Status), t.Kind, printable(t.RequestID)}
	if t.Error != nil {
		columns = append(columns, printable(reason(events.Event{Status: t.Status, Error: t.Error})))
	}
	_, err := fmt.Fprintln(p.stdout, strings.Join(columns, "  "))
	return err
}
