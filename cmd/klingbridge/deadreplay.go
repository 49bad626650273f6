package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

func (p *program) deadReplayCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "replay <request id>…",
		Short: "Send rejected requests again, each as a new request",
		Long: `Send rejected requests again as they came, each as a new request, and print its id: the old one and -r1, -r2, ….
The next replay of a request is refused until the last has ended. Exits 1 when one could not be replayed, having tried
them all.

With --json each is printed as one JSON object per line: replay_of, the id that was given, and request_id, the new one.`,
		Example:           "  klingbridge dead replay order-42",
		Args:              someIDs(0),
		ValidArgsFunction: p.completeDead(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.askEach(cmd.Context(), args, func(ctx context.Context, c *events.Client, id string) error {
				replay, err := c.Replay(ctx, id)
				if err != nil {
					return err
				}
				if asJSON {
					return p.printReplay(id, replay)
				}
				_, err = fmt.Fprintln(p.stdout, printable(replay))
				return err
			})
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
