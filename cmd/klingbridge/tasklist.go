package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

// taskPick is what the flags of task list say.
type taskPick struct {
	status, kind, source, since string
	metas                       []string
	asJSON                      bool
}

func (p *program) taskListCommand() *cobra.Command {
	var list listing
	var pick taskPick
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List requests: those that have not ended, then the others, newest first",
		Long: `List requests: those that wait, in the order in which they are taken, those in flight, then those that have ended,
newest first. One that moves on meanwhile may be listed twice. With --since it sums up on stderr.

With --json each is printed as one JSON object per line, which has:
` + taskFields,
		Example: `  klingbridge task list --status creating,submitted,processing         # what is in flight
  klingbridge task list --status failed,rejected,expired --since 24h   # what went wrong, and why
  klingbridge task list --source poll --since 24h                      # whose callbacks never came
  klingbridge task list --meta Tenant=acme                             # whose it is
  klingbridge task list --since 24h --all                              # what it cost, in the last line
  klingbridge task list --all --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := list.check(cmd); err != nil {
				return err
			}
			q, err := pick.query(time.Now())
			if err != nil {
				return err
			}
			return p.askMore(cmd.Context(), func(ctx context.Context, c *events.Client) error {
				next := func(page events.PageQuery) ([]events.Task, string, error) {
					q.PageQuery = page
					answer, err := c.Tasks(ctx, q)
					return answer.Tasks, answer.Cursor, err
				}
				return p.listTasks(pick, list, next)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&pick.status, "status", "", "only requests with this `status`; several with commas between them")
	f.StringVar(&pick.kind, "kind", "", "only requests of this `kind`")
	f.StringVar(&pick.source, "source", "", "only requests whose end was known by callback, poll or bridge")
	f.StringVar(&pick.since, "since", "", "only requests that have not ended, or did since: a `duration` such as 24h, or a time")
	f.StringArrayVar(&pick.metas, "meta", nil, "only requests with this `Name=value`; may be repeated")
	f.BoolVar(&pick.asJSON, "json", false, "print the entries, one JSON object per line")
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

func (t taskPick) query(now time.Time) (q events.TaskQuery, err error) {
	var statuses events.Statuses
	for word := range strings.SplitSeq(t.status, ",") {
		word = strings.TrimSpace(word)
		if t.status != "" && !slices.Contains(taskStatuses, events.Status(word)) {
			return q, usagef("--status %q is not one of %s", word, words(taskStatuses))
		}
		if word != "" {
			statuses = append(statuses, events.Status(word))
		}
	}
	q = events.TaskQuery{Statuses: statuses, Kind: t.kind, Source: events.Source(t.source)}
	sources := []events.Source{"", events.SourceCallback, events.SourcePoll, events.SourceBridge}
	if !slices.Contains(sources, q.Source) {
		return q, usagef("--source %q is not callback, poll or bridge", t.source)
	}
	if err := checkKind(t.kind); err != nil {
		return q, err
	}
	if q.Metadata, err = parseMetas(t.metas); err != nil {
		return q, err
	}
	since, err := parseSince(t.since, now)
	if !since.IsZero() {
		q.Since = events.At(since)
	}
	return q, err
}

func (p *program) listTasks(
	pick taskPick, list listing, next func(events.PageQuery) ([]events.Task, string, error),
) error {
	n, units := 0, 0.0
	counts := map[events.Status]int{}
	columns := heads(pick.asJSON, "requested                 status      kind  request  how long it took, or why it did not succeed")
	err := pages(p, list, columns, next, func(t events.Task) error {
		n++
		counts[t.Status]++
		if cost, err := strconv.ParseFloat(t.Units, 64); err == nil { // most have some
			units += cost
		}
		if pick.asJSON {
			return p.printJSON(t)
		}
		return p.printTaskLine(t)
	})
	if err != nil || pick.asJSON || pick.since == "" {
		return err
	}
	var parts []string
	for _, status := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[status], status))
	}
	summary := strings.Join(append([]string{counted(n, "request")}, strings.Join(parts, ", ")), ": ")
	fmt.Fprintf(p.stderr, "%s; %s units\n", strings.TrimSuffix(summary, ": "), decimal(units))
	return nil
}

func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// decimal writes a sum of decimal fractions without what binary ones add to it.
func decimal(sum float64) string {
	const places = 1e6
	return strconv.FormatFloat(math.Round(sum*places)/places, 'f', -1, 64)
}

func (p *program) printTaskLine(t events.Task) error {
	columns := []string{t.RequestedAt.String(), p.status(p.stdout, t.Status), t.Kind, printable(t.RequestID)}
	switch {
	case t.Error != nil:
		columns = append(columns, printable(reason(events.Event{Status: t.Status, Error: t.Error})))
	case t.CompletedAt != nil:
		columns = append(columns, t.CompletedAt.Sub(t.RequestedAt.Time).Round(100*time.Millisecond).String())
	}
	if t.Source == events.SourceCallback || t.Source == events.SourcePoll {
		columns = append(columns, "by "+string(t.Source))
	}
	if t.Units != "" && t.Units != "0" {
		columns = append(columns, printable(t.Units)+" units")
	}
	_, err := fmt.Fprintln(p.stdout, strings.Join(columns, "  "))
	return err
}
