package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

func (p *program) taskCancelCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "cancel <request id>…",
		Short: "End requests that have not become tasks",
		Long: `End requests that have not become tasks, as cancelled. Once a task exists it is too late: Kling has no cancel. Exits 1 when
one of them could not be cancelled, having tried them all.

With --json each that was cancelled is printed as one JSON object per line: request_id, and cancelled, which is true.`,
		Example:           "  klingbridge task cancel order-42 order-43",
		Args:              someIDs(0),
		ValidArgsFunction: p.completeIDs(events.StatusWaiting),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.askEach(cmd.Context(), args, func(ctx context.Context, c *events.Client, id string) error {
				if err := c.Cancel(ctx, id); err != nil {
					return err
				}
				if asJSON {
					return p.printJSON(struct {
						RequestID string `json:"request_id"`
						events.Cancelled
					}{id, events.Cancelled{Cancelled: true}})
				}
				_, err := fmt.Fprintf(p.stdout, "%s is cancelled\n", printable(id))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
