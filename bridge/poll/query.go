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
)

const (
	// bulkFrom is how many due tasks of one v1 kind make list pages worth trying: a page costs as much as one query.
	bulkFrom = 4
)

// pollKind asks about all due tasks of one kind in as few calls as it can, and acts on what is answered beside the
// asking. ctx ends the asking and hard the work on answers.
func (p *Poller) pollKind(ctx, hard context.Context, kind kling.Kind, due []*dueTask) {
	ctx, span := p.querySpan(ctx, kind.Name, len(due))
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
	known, nameless := split(due)
	if kind.Generation != kling.V1 {
		p.pollByIDs(ctx, kind, known, settle)
	} else {
		p.pollSingly(ctx, p.pollPages(ctx, kind, known, settle), settle)
	}
	p.pollSingly(ctx, nameless, settle)
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

// pollSingly asks for each task by itself, a few at a time. Once ctx has ended, the rest is given back.
func (p *Poller) pollSingly(ctx context.Context, due []*dueTask, settle settler) {
	asking := newCrew(pollWorkers)
	defer asking.wait()
	for _, d := range due {
		if ctx.Err() != nil {
			p.giveBack(d)
			continue
		}
		asking.do(func() {
			task, err := p.queryOne(ctx, d)
			settle(d, task, err)
		})
	}
}

func (p *Poller) queryOne(ctx context.Context, d *dueTask) (kling.Task, error) {
	if d.rec.TaskID != "" {
		return p.Client.Find(ctx, d.kind, d.rec.TaskID)
	}
	return p.Client.FindExternal(ctx, d.kind, d.rec.ExternalTaskID)
}

// pollByIDs asks by lists of ids, a few at a time. Once ctx has ended, the rest is given back.
func (p *Poller) pollByIDs(ctx context.Context, kind kling.Kind, due []*dueTask, settle settler) {
	asking := newCrew(pollWorkers)
	defer asking.wait()
	for batch := range slices.Chunk(due, kling.MaxIDs) {
		asking.do(func() { p.pollBatch(ctx, kind, batch, settle) })
	}
}

// pollBatch asks for some tasks in one call. Kling refuses a batch as a whole, and would again: its halves are asked for
// instead, so that in the end a task that can't be asked for stands alone.
func (p *Poller) pollBatch(ctx context.Context, kind kling.Kind, batch []*dueTask, settle settler) {
	if ctx.Err() != nil {
		for _, d := range batch {
			p.giveBack(d)
		}
		return
	}
	ids := make([]string, 0, len(batch))
	for _, d := range batch {
		ids = append(ids, d.rec.TaskID)
	}
	tasks, err := p.Client.QueryTasks(ctx, kind.Generation, ids)
	if len(batch) > 1 && batchRefused(err) {
		half := len(batch) / 2
		p.pollBatch(ctx, kind, batch[:half], settle)
		p.pollBatch(ctx, kind, batch[half:], settle)
		return
	}
	for _, d := range settleListed(batch, byID(tasks), settle) {
		settle(d, kling.Task{}, cmp.Or(err, errNotListed))
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

// pollPages reads list pages while they cost less than single queries, and returns the tasks they did not hold. The
// order of a list is not documented, so pages are read to the last.
func (p *Poller) pollPages(ctx context.Context, kind kling.Kind, due []*dueTask, settle settler) (left []*dueTask) {
	left = due
	for page := 1; len(left) >= bulkFrom && page <= max(1, len(due)/2); page++ {
		tasks, err := p.Client.List(ctx, kind, page, kling.MaxPage)
		if kling.Refused(err) { // such as a list that has been retired
			p.Log.WarnContext(ctx, "list refused, asking for each task", slog.String("kind", kind.Name), slog.Any("err", err))
			return left
		}
		if err != nil { // single queries would fare no better
			for _, d := range left {
				settle(d, kling.Task{}, err)
			}
			return nil
		}
		left = settleListed(left, byID(tasks), settle)
		if len(tasks) < kling.MaxPage {
			break
		}
	}
	return left
}

// settleListed settles what is listed and returns the rest.
func settleListed(due []*dueTask, listed map[string]kling.Task, settle settler) (left []*dueTask) {
	for _, d := range due {
		if task, ok := listed[d.rec.TaskID]; ok {
			settle(d, task, nil)
		} else {
			left = append(left, d)
		}
	}
	return left
}
