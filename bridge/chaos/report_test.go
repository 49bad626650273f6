package chaos_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// maxShown bounds how many requests a failure shows in full.
const maxShown = 5

// totals counts completions.
type totals struct {
	statuses map[events.Status]int
	sources  map[events.Source]int
}

func (t *totals) count(ev events.Event) {
	if t.statuses == nil {
		t.statuses, t.sources = map[events.Status]int{}, map[events.Source]int{}
	}
	t.statuses[ev.Status]++
	t.sources[ev.Source]++
}

// report logs what was done, and fails the test with all that is known of each request that something is wrong with.
func (a *audit) report() {
	w := a.w
	w.t.Helper()
	w.t.Logf("\n%s", a.table())
	if len(a.wrong) == 0 {
		return
	}
	w.t.Errorf("%d requests were not treated as promised, seed %d\n%s", len(a.wrong), w.seed, a.describeAll())
}

// fatalf ends the test with all that is known of the requests that have not ended.
func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	a, err := w.newAudit()
	for token := range w.asked {
		if len(a.ofType(token, events.TypeCompletion)) == 0 {
			a.fault(token, "no completion")
		}
	}
	w.t.Fatalf("%s\nseed %d, %d of %d requests have not ended (read: %v)\n%s",
		fmt.Sprintf(format, args...), w.seed, len(a.wrong), len(w.asked), err, a.describeAll())
}

// describeAll tells what is known of the first few of the requests that something is wrong with.
func (a *audit) describeAll() string {
	tokens := slices.Sorted(maps.Keys(a.wrong))
	var text strings.Builder
	var ids []string
	for _, token := range tokens[:min(maxShown, len(tokens))] {
		a.describe(&text, token)
		ids = append(ids, a.w.asked[token].ID)
	}
	return text.String() + a.w.logs(ids...)
}

// describe writes all that is known of one request.
func (a *audit) describe(text *strings.Builder, token string) {
	asked := a.w.asked[token]
	fmt.Fprintf(text, "=== %s: %q, %s, fate %q\n", token, asked.ID, asked.Kind, asked.fate)
	for _, fault := range a.wrong[token] {
		fmt.Fprintf(text, "  WRONG: %s\n", fault)
	}
	for _, m := range a.stored[token] {
		fmt.Fprintf(text, "  stored %d %s\n    %v\n    %s\n", m.Seq, m.Subject, m.Header, m.Data)
	}
	for _, t := range a.tasks[token] {
		fmt.Fprintf(text, "  task %s (%s) %s, created %s\n", t.ID, t.ExternalID, t.Status, t.CreatedAt.Format(time.RFC3339Nano))
	}
}

// table sums the run up.
func (a *audit) table() string {
	w := a.w
	var text strings.Builder
	rows := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	row := func(name string, value any) { fmt.Fprintf(rows, "  %s\t%v\n", name, value) }
	row("seed", w.seed)
	row("duration", time.Since(w.began).Round(100*time.Millisecond))
	row("requests", fmt.Sprintf("%d, and %d repeats", len(w.asked), w.repeats))
	row("tasks at Kling", len(w.tasks()))
	row("completions", list(a.total.statuses))
	row("by source", list(a.total.sources))
	row("refused by Kling", list(w.refusals()))
	if len(w.mixed) > 0 {
		row("callbacks that mix accounts", list(w.mixed))
	}
	row("callbacks answered", list(statuses(w.phone.answered())))
	if len(w.killed) > 0 {
		row("kills", list(w.killed))
	}
	if w.leadersStopped > 0 {
		row("leaders stopped", w.leadersStopped)
	}
	_ = rows.Flush() // a strings.Builder takes everything
	return text.String()
}

// refusals are those of all accounts, by Kling's code.
func (w *world) refusals() map[int]int {
	if len(w.accounts) == 0 {
		return w.sim.Calls().Refused
	}
	all := map[int]int{}
	for _, a := range w.accounts {
		for code, n := range a.Calls().Refused {
			all[code] += n
		}
	}
	return all
}

func statuses(answers []answer) map[int]int {
	byStatus := map[int]int{}
	for _, a := range answers {
		byStatus[a.status]++
	}
	return byStatus
}

// list writes counts and their sum.
func list[K interface{ ~string | ~int }](counts map[K]int) string {
	total := 0
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(counts)) {
		total += counts[k]
		parts = append(parts, fmt.Sprintf("%v %d", k, counts[k]))
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}
