package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/events"
)

func (p *program) taskAgainCommand() *cobra.Command {
	var sets []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "again <request id>",
		Short: "Send a request again that has ended, as a new one that Kling charges for",
		Long: `Send a request again that has ended, whatever its end, and print the id of the new one: the old one and -r1, -r2, ….
It is as it came, but for what --set changes. Kling makes a new task of it and charges for that, also where the old one
succeeded. It is refused until the last time it was sent again has ended.

A request that brought an external_task_id of its own needs another one: --set external_task_id=….

With --json one JSON object is printed: replay_of, the id that was given, and request_id, the new one.`,
		Example: `  klingbridge task again order-42
  klingbridge task again order-42 --set 'duration="10"' --set prompt='A lighthouse at night'`,
		Args:              someIDs(1),
		ValidArgsFunction: p.completeIDs(""),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := (submission{sets: sets}).checkBody(); err != nil {
				return err
			}
			return p.ask(cmd.Context(), func(ctx context.Context, c *events.Client) error {
				members, err := againMembers(sets, func() (events.Task, error) { return c.Task(ctx, args[0]) })
				if err != nil {
					return err
				}
				again, err := c.Again(ctx, args[0], members)
				if err != nil {
					return err
				}
				if asJSON {
					return p.printReplay(args[0], again)
				}
				fmt.Fprintln(p.stderr, "sent again as a new request, which Kling charges for")
				_, err = fmt.Fprintln(p.stdout, printable(again))
				return err
			})
		},
	}
	cmd.Flags().StringArrayVar(&sets, "set", nil, "a field of the body as `key=value`, instead of the old one; may be repeated")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// printReplay prints which request was sent again under which id.
func (p *program) printReplay(id, as string) error {
	return p.printJSON(struct {
		ReplayOf string `json:"replay_of"`
		events.Replayed
	}{id, events.Replayed{RequestID: as}})
}

var errClipped = errors.New("the body is too large to be seen whole: set a whole member instead, as JSON")

// againMembers returns the top-level members that --set changes. Those that are changed within are read first.
func againMembers(sets []string, get func() (events.Task, error)) (map[string]json.RawMessage, error) {
	body := map[string]any{}
	changed := map[string]json.RawMessage{}
	read := false
	for _, set := range sets {
		path, _, _ := strings.Cut(set, "=")
		fields := fieldPath(path)
		if len(fields) > 1 && !read {
			task, err := get()
			if err != nil {
				return nil, err
			}
			if task.BodyBytes != len(task.Body) {
				return nil, usagef("--set %s: %w", path, errClipped)
			}
			old, err := decodeObject([]byte(task.Body))
			if err != nil {
				return nil, usagef("--set %s: the body is not a JSON object: %w", path, err)
			}
			maps.Copy(old, body) // what was set before
			body, read = old, true
		}
		if err := setField(body, set); err != nil {
			return nil, err
		}
		changed[fields[0]] = nil
	}
	for name := range changed {
		data, err := encodeJSON(body[name])
		if err != nil {
			return nil, err
		}
		changed[name] = data
	}
	return changed, nil
}
