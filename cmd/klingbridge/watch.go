package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

// watching is what the flags of watch say.
type watching struct {
	picking
	count  int // zero: no end
	asJSON bool
}

func (p *program) watchCommand() *cobra.Command {
	var w watching
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print events as they come",
		Long: `Print progress, completion and late events as they are stored, until interrupted: one line each, or with --json the
event as it is, one JSON object per line.

With --id the events that the request already has come first; where nothing is known of it, stderr says so. Watching ends
with its completion: the exit code is 0 when it succeeded, else 1, as that of "submit --wait". With --count it ends after
so many lines, with 0 unless one of them was that completion. An interrupt before such an end fails.`,
		Example: `  klingbridge watch --status failed --since 24h
  klingbridge watch --id order-42 && echo "order-42 is done"
  klingbridge watch --status succeed --count 10
  klingbridge watch --kind text2video --json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cmd.Flags().Changed("count") && w.count < 1 {
				return usagef("--count %d is not above zero", w.count)
			}
			return p.watch(cmd.Context(), w)
		},
	}
	w.addFlags(p, cmd, "events", "", slices.Concat(progressStatuses, completionStatuses)...)
	f := cmd.Flags()
	f.IntVar(&w.count, "count", 0, "end after `n` events")
	f.BoolVar(&w.asJSON, "json", false, "print the events themselves, one JSON object per line")
	return cmd
}

func (p *program) watch(ctx context.Context, w watching) error {
	filter, err := w.filter(time.Now())
	if err != nil {
		return err
	}
	settings, err := p.settings(false)
	if err != nil {
		return err
	}
	return p.onNATS(ctx, settings, need{without: []string{settings.subjects.API("")}}, func(ctx context.Context, nc *link) error {
		p.tellUnknown(ctx, nc.client, w.id)
		return p.watchUntil(ctx, w, nc.client.Watch(ctx, w.whole(filter)), filter)
	})
}

// tellUnknown says so where the bridge knows nothing of the request: its id may be misspelt, or it is yet to come. A bridge
// that does not answer is no news.
func (p *program) tellUnknown(ctx context.Context, client *events.Client, id string) {
	if id == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, knownTimeout)
	defer cancel()
	if _, err := client.Task(ctx, id); errors.Is(err, events.ErrNotFound) {
		p.inform("nothing is known of request %s; waiting for its first event", id)
	}
}

// whole is what has to be read to print what the filter picks: with an id its completion, whenever it came.
func (w watching) whole(f events.Filter) events.Filter {
	if w.id == "" {
		return f
	}
	return events.Filter{ID: w.id, Since: time.Unix(1, 0)}
}

// watchUntil prints what the filter picks until the request or the count has come to its end.
func (p *program) watchUntil(
	ctx context.Context, w watching, all iter.Seq2[events.Message, error], filter events.Filter,
) error {
	printed := 0
	noMore := p.tellLater("waiting for events")
	defer noMore()
	for m, err := range all {
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			if m.Subject == "" {
				return err
			}
			fmt.Fprintln(p.stderr, printable(err.Error())) // one event that nobody can read
			continue
		}
		picked := picks(filter, m.Event)
		if picked {
			noMore()
			printed++
			if err := p.printEvent(m, w.asJSON); err != nil {
				return err
			}
		}
		if w.id != "" && m.Type == events.TypeCompletion {
			return p.watchedEnd(m.Event, picked)
		}
		if picked && printed == w.count {
			return nil
		}
	}
	return w.interrupted()
}

// interrupted is what an interrupt comes to: it is how watching ends, unless something was awaited.
func (w watching) interrupted() error {
	if w.id != "" || w.count > 0 {
		return errors.New("interrupted")
	}
	return nil
}

func picks(f events.Filter, e events.Event) bool {
	return (f.Kind == "" || f.Kind == e.Kind) && (f.Status == "" || f.Status == e.Status) && !e.PublishedAt.Before(f.Since)
}

// watchedEnd turns a completion into the exit code, and tells of one that was not printed.
func (p *program) watchedEnd(e events.Event, printed bool) error {
	if !printed {
		fmt.Fprintf(p.stderr, "request %s: %s\n", printable(e.RequestID), printable(string(e.Status)))
	}
	if e.Status != events.StatusSucceed {
		return errSilent
	}
	return nil
}

func (p *program) printEvent(m events.Message, asJSON bool) error {
	if asJSON {
		_, err := fmt.Fprintf(p.stdout, "%s\n", m.Raw)
		return err
	}
	e := m.Event
	columns := []string{e.PublishedAt.String(), p.status(p.stdout, e.Status), e.Kind, printable(e.RequestID)}
	if m.Type == events.TypeLate {
		columns = append(columns, "(late)")
	}
	switch {
	case e.Status == events.StatusRetrying:
		columns = append(columns, printable(e.Message))
	case e.Error != nil:
		columns = append(columns, printable(reason(e)))
	case e.Result != nil:
		for _, file := range resultFiles(e.Result) {
			columns = append(columns, printable(file.url))
		}
	}
	_, err := fmt.Fprintln(p.stdout, strings.Join(columns, "  "))
	return err
}

// reason says why a request did not succeed, after its status: without the class where that is the same word.
func reason(e events.Event) string {
	return strings.TrimPrefix(e.Error.Error(), string(e.Status)+": ")
}

// status returns a status padded to a column, in colour where w shows it.
func (p *program) status(w io.Writer, s events.Status) string {
	padded := fmt.Sprintf("%-10s", printable(string(s)))
	if !p.colours(w) {
		return padded
	}
	const green, red, yellow = 32, 31, 33
	colour := red
	switch {
	case s == events.StatusSucceed:
		colour = green
	case !s.Terminal():
		colour = yellow
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", colour, padded)
}

// printable keeps control characters that users and Kling wrote from the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
}
