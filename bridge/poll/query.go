package poll

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
)

const (
	// bulkFrom is how many due tasks of one v1 kind make list pages worth trying: a page costs as much as one query.
	bulkFrom = 4
)

// pollSort asks about all due tasks of one kind and account in as few calls as it can, and acts on what is answered beside
// the asking. ctx ends the asking and hard the work on answers.
func (p *Poller) pollSort(ctx, hard context.Context, of sort, due []*dueTask) {
	ctx, span := p.querySpan(ctx, of, len(due))
	defer span.End()
	p.Metrics.polls.Add(ctx, 1)
	hard = trace.ContextWithSpan(hard, span)
	settling := newCrew(settleWorkers)
	defer settling.wait()
	settle := func(d *dueTask, task kling.Task, err error) {
		if ctx.Err() != nil {
			p.giveBack(d)
			return
		}
		settling.do(func() { p.settle(hard, d, task, err) })
	}
	due = slices.DeleteFunc(due, func(d *dueTask) bool {
		again := d.rec.State == store.StateRetrying // Kling has nothing to say of it
		if again {
			settle(d, kling.Task{}, nil)
		}
		return again
	})
	client, err := p.Accounts.Client(of.account)
	if err != nil { // its tasks are asked about when it is back
		for _, d := range due {
			settle(d, kling.Task{}, err)
		}
		return
	}
	q := query{Poller: p, client: client, kind: of.kind, settle: settle}
	known, nameless := split(due)
	if of.kind.Generation != kling.V1 {
		q.byIDs(ctx, known)
	} else {
		q.singly(ctx, q.pages(ctx, known))
	}
	q.singly(ctx, nameless)
}

// query asks about due tasks of one kind and account.
type query struct {
	*Poller
	client *kling.Client
	kind   kling.Kind
	settle settler
}

// settler acts on what Kling said of one due task, or on why it said nothing. Once the asking has been ended, it gives
// the task back.
type settler func(d *dueTask, task kling.Task, err error)

// crew does so many things at a time.
type crew struct {
	free chan struct{}
	busy sync.WaitGroup
}

func newCrew(size int) *crew { return &crew{free: make(chan struct{}, size)} }

// do waits until there is somebody to do f.
func (c *crew) do(f func()) {
	c.free <- struct{}{}
	c.busy.Go(func() {
		defer func() { <-c.free }()
		f()
	})
}

func (c *crew) wait() { c.busy.Wait() }

// split sets apart tasks whose id is not known yet: they are asked for one by one, by external id.
func split(due []*dueTask) (known, nameless []*dueTask) {
	for _, d := range due {
		if d.rec.TaskID == "" {
			nameless = append(nameless, d)
		} else {
			known = append(known, d)
		}
	}
	return known, nameless
}

// singly asks for each task by itself, a few at a time. Once ctx has ended, the rest is given back.
func (q query) singly(ctx context.Context, due []*dueTask) {
	asking := newCrew(pollWorkers)
	defer asking.wait()
	for _, d := range due {
		if ctx.Err() != nil {
			q.giveBack(d)
			continue
		}
		asking.do(func() {
			task, err := q.one(ctx, d)
			q.settle(d, task, err)
		})
	}
}

func (q query) one(ctx context.Context, d *dueTask) (kling.Task, error) {
	if d.rec.TaskID != "" {
		return q.client.Find(ctx, q.kind, d.rec.TaskID)
	}
	return q.client.FindExternal(ctx, q.kind, d.rec.ExternalTaskID)
}

// byIDs asks by lists of ids, a few at a time. Once ctx has ended, the rest is given back.
func (q query) byIDs(ctx context.Context, due []*dueTask) {
	asking := newCrew(pollWorkers)
	defer asking.wait()
	for batch := range slices.Chunk(due, kling.MaxIDs) {
		asking.do(func() { q.batch(ctx, batch) })
	}
}

// batch asks for some tasks in one call. Kling refuses a batch as a whole, and would again: its halves are asked for
// instead, so that in the end a task that can't be asked for stands alone.
func (q query) batch(ctx context.Context, batch []*dueTask) {
	if ctx.Err() != nil {
		for _, d := range batch {
			q.giveBack(d)
		}
		return
	}
	ids := make([]string, 0, len(batch))
	for _, d := range batch {
		ids = append(ids, d.rec.TaskID)
	}
	tasks, err := q.client.QueryTasks(ctx, q.kind.Generation, ids)
	if len(batch) > 1 && batchRefused(err) {
		half := len(batch) / 2
		q.batch(ctx, batch[:half])
		q.batch(ctx, batch[half:])
		return
	}
	for _, d := range q.settleListed(batch, byID(tasks)) {
		q.settle(d, kling.Task{}, cmp.Or(err, errNotListed))
	}
}

// batchRefused tells a refusal that may be about one of the ids, whatever its text, from one of all that is asked on
// this route.
func batchRefused(err error) bool {
	failure, ok := errors.AsType[*kling.Error](err)
	return ok && failure.Action == kling.ActionReject && failure.Class != kling.ClassPermission && !failure.Foreign
}

// errNotListed is noted for a task that a query by ids did not answer for.
var errNotListed = errors.New("Kling did not list the task")

func byID(tasks []kling.Task) map[string]kling.Task {
	found := make(map[string]kling.Task, len(tasks))
	for _, t := range tasks {
		found[t.ID] = t
	}
	return found
}

// pages reads list pages while they cost less than single queries, and returns the tasks they did not hold. The
// order of a list is not documented, so pages are read to the last.
func (q query) pages(ctx context.Context, due []*dueTask) (left []*dueTask) {
	left = due
	for page := 1; len(left) >= bulkFrom && page <= max(1, len(due)/2); page++ {
		tasks, err := q.client.List(ctx, q.kind, page, kling.MaxPage)
		if kling.Refused(err) { // such as a list that has been retired
			q.Log.WarnContext(ctx, "list refused, asking for each task", slog.String("kind", q.kind.Name), slog.Any("err", err))
			return left
		}
		if err != nil { // single queries would fare no better
			for _, d := range left {
				q.settle(d, kling.Task{}, err)
			}
			return nil
		}
		left = q.settleListed(left, byID(tasks))
		if len(tasks) < kling.MaxPage {
			break
		}
	}
	return left
}

// settleListed settles what is listed and returns the rest.
func (q query) settleListed(due []*dueTask, listed map[string]kling.Task) (left []*dueTask) {
	for _, d := range due {
		if task, ok := listed[d.rec.TaskID]; ok {
			q.settle(d, task, nil)
		} else {
			left = append(left, d)
		}
	}
	return left
}
