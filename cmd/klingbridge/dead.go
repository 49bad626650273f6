package main

import (
	"github.com/spf13/cobra"
)

func (p *program) deadCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead",
		Short: "Look at requests that were rejected, or replay them",
		Args:  noSuchCommand,
		RunE:  p.needsCommand,
	}
	cmd.AddCommand(p.deadListCommand(), p.deadReplayCommand())
	return cmd
}
