package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

// completionTime bounds the question to the bridge for ids: a person has pressed the tab key.
const completionTime = time.Second

// completeKinds completes the kind, and then files.
func (p *program) completeKinds(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	names, err := p.kinds()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (p *program) kinds() (names []cobra.Completion, err error) {
	settings, err := p.settings(false)
	if err != nil {
		return nil, err
	}
	for _, k := range settings.kinds.All() {
		names = append(names, cobra.CompletionWithDesc(k.Name, string(k.Pool)+" pool"))
	}
	return names, nil
}

// completeFlags completes those of --kind, --id and --status that a command has.
func (p *program) completeFlags(cmd *cobra.Command, statuses ...events.Status) {
	for name, complete := range map[string]cobra.CompletionFunc{
		"id": p.completeIDs(""),
		"kind": func(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
			names, _ := p.kinds() // a wrong environment completes nothing
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		"status": cobra.FixedCompletions(strings.Split(words(statuses), ", "), cobra.ShellCompDirectiveNoFileComp),
	} {
		if cmd.Flags().Lookup(name) != nil {
			_ = cmd.RegisterFlagCompletionFunc(name, complete) // fails for a flag that is not there
		}
	}
}

// completeIDs completes the ids of requests with some status; empty: with any.
func (p *program) completeIDs(status events.Status) cobra.CompletionFunc {
	return p.complete(func(ctx context.Context, c *events.Client) (ids []cobra.Completion, err error) {
		list, err := c.Tasks(ctx, events.TaskQuery{Statuses: events.Statuses{status}})
		for _, t := range list.Tasks {
			ids = append(ids, cobra.CompletionWithDesc(t.RequestID, t.Kind+" "+string(t.Status)))
		}
		return ids, err
	})
}

// completeDead completes the ids of dead letters.
func (p *program) completeDead() cobra.CompletionFunc {
	return p.complete(func(ctx context.Context, c *events.Client) (ids []cobra.Completion, err error) {
		list, err := c.DeadLetters(ctx, events.PageQuery{})
		for _, d := range list.Dead {
			ids = append(ids, cobra.CompletionWithDesc(d.RequestID, d.Kind+" "+string(d.Error.Class)))
		}
		return ids, err
	})
}

// complete asks the bridge. One that does not answer soon completes nothing.
func (p *program) complete(ask func(context.Context, *events.Client) ([]cobra.Completion, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, _ []string, _ string) (found []cobra.Completion, _ cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(cmd.Context(), completionTime)
		defer cancel()
		err := p.ask(ctx, func(ctx context.Context, c *events.Client) (err error) {
			found, err = ask(ctx, c)
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError | cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}
