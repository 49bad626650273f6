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
	case t.Status == events.StatusCreating && (t.Wait == nil || t.Wait.For == events.WaitForAnswer):
		return "being sent to Kling"
	case t.Status == events.StatusWaiting, t.Status == events.StatusCreating:
		return waitInWords(t)
	default:
		return string(t.Status) + usual
	}
}

// waitInWords says what keeps a request from being a task.
func waitInWords(t events.Task) string {
	text := "waiting for " + cmp.Or(printable(t.WaitsFor), "capacity")
	switch {
	case t.Status != events.StatusWaiting, t.Wait != nil && t.Wait.For == events.WaitForAgain:
		return text
	case t.Before != nil && *t.Before > 0:
		return fmt.Sprintf("%s, %d before it", text, *t.Before)
	default:
		return text + ", next in line"
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
