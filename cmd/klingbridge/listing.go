package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

// maxPage is the most that the bridge gives at a time.
const maxPage = 1000

// listing is how much of a list is asked for.
type listing struct {
	limit int
	all   bool
}

// addFlags lets the user say how much of a list to print.
func (l *listing) addFlags(cmd *cobra.Command) {
	cmd.Flags().IntVar(&l.limit, "limit", 100, "how many at most")
	cmd.Flags().BoolVar(&l.all, "all", false, "all there are")
}

// check refuses flags that make no sense.
func (l listing) check(cmd *cobra.Command) error {
	switch {
	case l.all && cmd.Flags().Changed("limit"):
		return usagef("--limit and --all exclude each other")
	case l.limit < 1:
		return usagef("--limit %d is not above zero", l.limit)
	default:
		return nil
	}
}

// heads leaves the heads of columns out where a list is printed as JSON.
func heads(asJSON bool, text string) string {
	if asJSON {
		return ""
	}
	return text
}

// pages prints a list page by page, as much of it as was asked for, and says when there is more, or nothing. The heads of
// columns are for people at a terminal, and go to stderr; none: the list is for programs.
func pages[E any](p *program, l listing, heads string, next func(events.PageQuery) ([]E, string, error), show func(E) error) error {
	left, cursor := l.limit, ""
	for left > 0 || l.all {
		var entries []E
		var after string
		err := p.patiently(forAnswer, func() (err error) {
			entries, after, err = next(events.PageQuery{Limit: l.pageOf(left), Cursor: cursor})
			return err
		})
		if err != nil {
			return err
		}
		if heads != "" && cursor == "" {
			p.printHeads(heads, len(entries), after == "")
		}
		if err := showAll(entries, show); err != nil || after == "" {
			return err
		}
		left, cursor = left-len(entries), after
	}
	fmt.Fprintln(p.stderr, "there are more: see --limit and --all")
	return nil
}

// pageOf is how many entries are asked for at a time while so many are left.
func (l listing) pageOf(left int) int {
	if l.all {
		return maxPage
	}
	return min(left, maxPage)
}

func showAll[E any](entries []E, show func(E) error) error {
	for _, e := range entries {
		if err := show(e); err != nil {
			return err
		}
	}
	return nil
}

// printHeads precedes the first page of a list.
func (p *program) printHeads(heads string, entries int, last bool) {
	switch {
	case entries > 0 && isTerminal(p.stderr):
		fmt.Fprintln(p.stderr, heads)
	case entries == 0 && last:
		fmt.Fprintln(p.stderr, "nothing there")
	}
}
