package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

func (p *program) deadListCommand() *cobra.Command {
	var (
		list   listing
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List requests that were rejected, newest first",
		Long: `List dead letters, newest first: requests that were rejected, each with the reason.

With --json each is printed as one JSON object per line, which has:
request_id, kind, status (rejected); died_at: a time in RFC 3339; error: an object with class, code, http_status, message
and retryable; metadata: an object; payload: the body as it came, at most 4 KiB of it; bytes: the size of the whole body;
replayed: whether a replay was asked for.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := list.check(cmd); err != nil {
				return err
			}
			return p.askMore(cmd.Context(), func(ctx context.Context, c *events.Client) error {
				next := func(page events.PageQuery) ([]events.DeadLetter, string, error) {
					answer, err := c.DeadLetters(ctx, page)
					return answer.Dead, answer.Cursor, err
				}
				return pages(p, list, heads(asJSON, "died                      status      kind  request  why"), next, func(d events.DeadLetter) error { return p.printDeadLine(d, asJSON) })
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the entries, one JSON object per line")
	list.addFlags(cmd)
	return cmd
}

func (p *program) printDeadLine(d events.DeadLetter, asJSON bool) error {
	if asJSON {
		return p.printJSON(d)
	}
	columns := []string{d.DiedAt.String(), p.status(p.stdout, d.Status), d.Kind, printable(d.RequestID)}
	if d.Replayed {
		columns = append(columns, "(replayed)")
	}
	columns = append(columns, printable(d.Error.Error()))
	_, err := fmt.Fprintln(p.stdout, strings.Join(columns, "  "))
	return err
}
