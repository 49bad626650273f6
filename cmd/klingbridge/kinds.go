package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

func (p *program) kindsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "kinds [kind]",
		Short: "List the kinds of tasks, or print a sample body of one",
		Long: `List the kinds of tasks, or print a sample body of one on stdout, for submit to read. What Kling wants in it, and how
long such a task usually takes, are told too. The inputs in samples are at example.com, and ids are made up: put your own
in their place. Where a bridge answers, the slots are listed that Kling gives it by pool, as far as they are known.

With --json each kind is printed as one JSON object per line, which has: kind; pool; api: v1, v2 or solutions; path: of
Kling's create call; slots: a number, or null where it is not known; required: a list of fields, in words; usual_seconds: 0
where it is not known; body: the sample, null for a kind of BRIDGE_EXTRA_KINDS.`,
		Example: `  klingbridge kinds
  klingbridge kinds text2video | klingbridge submit text2video - --wait`,
		Args:              atMostOneKind,
		ValidArgsFunction: p.completeKinds,
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := p.settings(false)
			if err != nil {
				return err
			}
			kinds := s.kinds.All()
			if len(args) == 1 {
				kind, ok := s.kinds.Lookup(args[0])
				if !ok {
					return usagef("%s", unknownKind(args[0], s.kinds))
				}
				kinds = []kling.Kind{kind}
			}
			list := describeKinds(kinds, p.slots(cmd.Context(), s))
			switch {
			case asJSON:
				return p.printKindsJSON(list)
			case len(args) == 1:
				return p.printSample(list[0])
			default:
				return p.printKinds(list)
			}
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func atMostOneKind(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("unexpected argument %q", args[1])
	}
	return nil
}

// kindInfo is what is told of a kind.
type kindInfo struct {
	Kind     string          `json:"kind"`
	Pool     string          `json:"pool"`
	API      string          `json:"api"`
	Path     string          `json:"path"`
	Slots    *int            `json:"slots"`
	Required []string        `json:"required"`
	Usual    int             `json:"usual_seconds"`
	Body     json.RawMessage `json:"body"`
}

func describeKinds(kinds []kling.Kind, slots map[string]*int) []kindInfo {
	samples := kling.Samples()
	list := make([]kindInfo, len(kinds))
	for i, k := range kinds {
		sample := samples[k.Name]
		list[i] = kindInfo{
			Kind: k.Name, Pool: string(k.Pool), API: string(k.Generation), Path: k.Path, Slots: slots[string(k.Pool)],
			Required: append([]string{}, sample.Required...), Usual: int(sample.Usual / time.Second), Body: sample.Body,
		}
	}
	return list
}

// slotsTime bounds the look for slots, which are only good to know.
const slotsTime = time.Second

// slots are those of each pool, as far as a bridge answers and knows them.
func (p *program) slots(ctx context.Context, s settings) map[string]*int {
	ctx, cancel := context.WithTimeout(ctx, slotsTime)
	defer cancel()
	var status events.BridgeStatus
	err := p.onNATS(ctx, s, need{}, func(ctx context.Context, nc *link) (err error) {
		status, err = nc.client.Status(ctx)
		return err
	})
	if err != nil {
		return nil
	}
	slots := map[string]*int{}
	for _, pool := range status.Pools {
		slots[pool.Pool] = least(pool)
	}
	return slots
}

// least is how many slots of a pool can be taken: those that Kling is known to give, and no more than BRIDGE_CONCURRENCY.
func least(pool events.PoolStatus) *int {
	if pool.Limit == nil || pool.Cap != nil && *pool.Cap < *pool.Limit {
		return pool.Cap
	}
	return pool.Limit
}

func (p *program) printKindsJSON(list []kindInfo) error {
	for _, k := range list {
		if err := p.printJSON(k); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) printKinds(list []kindInfo) error {
	w := tabwriter.NewWriter(p.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "kind\tpool\tslots\tusually\trequired")
	for _, k := range list {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", k.Kind, k.Pool, orDash(k.Slots), usually(k.Usual), orUnknown(k.Required))
	}
	return w.Flush()
}

func usually(seconds int) string {
	if seconds == 0 {
		return "-"
	}
	return (time.Duration(seconds) * time.Second).String()
}

func orUnknown(required []string) string {
	if len(required) == 0 {
		return "see Kling's documentation"
	}
	return strings.Join(required, "; ")
}

// printSample prints what is told of a kind on stderr: only the body is for submit to read.
func (p *program) printSample(k kindInfo) error {
	fmt.Fprintf(p.stderr, "%s: pool %s, slots %s, usually %s\nrequired: %s\n", k.Kind, k.Pool, orDash(k.Slots), usually(k.Usual),
		orUnknown(k.Required))
	if k.Body == nil {
		return fmt.Errorf("there is no sample of %s", k.Kind)
	}
	var body bytes.Buffer
	if err := json.Indent(&body, k.Body, "", "  "); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.stdout, body.String())
	return err
}

// kindNames lists the kinds by pool, for help.
func kindNames() string {
	var b strings.Builder
	kinds := kling.DefaultKinds()
	for _, pool := range kinds.Pools() {
		line := fmt.Sprintf("  %-6s", pool)
		for _, k := range kinds.All() {
			if k.Pool != pool {
				continue
			}
			if len(line)+len(k.Name) >= helpWidth {
				b.WriteString(line + "\n")
				line = strings.Repeat(" ", len("  video"))
			}
			line += " " + k.Name
		}
		b.WriteString(line + "\n")
	}
	return strings.TrimRight(b.String(), "\n")
}

// helpWidth is how wide the help's text is.
const helpWidth = 118
