package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// usualOf is from how many results of a kind its usual time is taken.
const usualOf = 20

// howItGoes asks the bridge about a request and says it in a few words. A bridge that does not answer is no news.
func howItGoes(client *events.Client, id string) func(context.Context) (string, bool) {
	usual := ""
	return func(ctx context.Context) (string, bool) {
		ctx, cancel := context.WithTimeout(ctx, askInterval)
		defer cancel()
		task, err := client.Task(ctx, id)
		if err != nil {
			return "", false
		}
		if usual == "" {
			usual = usualTime(ctx, client, task.Kind)
		}
		return inWords(task, usual), true
	}
}

func inWords(t events.Task, usual string) string {
	switch {
	case t.Status.Terminal():
		return ""
	case t.Status == events.StatusWaiting && t.Before != nil && *t.Before > 0:
		return fmt.Sprintf("waiting for %s, %d before it", cmp.Or(t.WaitsFor, "capacity"), *t.Before)
	case t.Status == events.StatusWaiting:
		return fmt.Sprintf("waiting for %s, next in line", cmp.Or(t.WaitsFor, "capacity"))
	case t.Status == events.StatusCreating:
		return "being sent to Kling"
	default:
		return string(t.Status) + usual
	}
}

// usualTime is the median time of the last results of a kind, from submission to the end.
func usualTime(ctx context.Context, client *events.Client, kind string) string {
	list, err := client.Tasks(ctx, events.TaskQuery{
		Kind: kind, Statuses: events.Statuses{events.StatusSucceed}, PageQuery: events.PageQuery{Limit: usualOf},
	})
	if err != nil {
		return ""
	}
	var took []time.Duration
	for _, t := range list.Tasks {
		if t.SubmittedAt != nil && t.CompletedAt != nil {
			took = append(took, t.CompletedAt.Sub(t.SubmittedAt.Time))
		}
	}
	if len(took) == 0 {
		return ""
	}
	slices.Sort(took)
	return fmt.Sprintf("; %s usually takes %s", kind, took[len(took)/2].Round(time.Second))
}
