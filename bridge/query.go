package bridge

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	// bulkFrom is how many due tasks of one v1 kind make list pages worth trying: a page costs as much as one query.
	bulkFrom = 4
	// pageSize is the largest list page Kling gives.
	pageSize = 500
	// idsPerQuery bounds a v2 query; Kling documents no maximum, and this keeps the URL short.
	idsPerQuery = 100
)

// pollKind asks about all due tasks of one kind in as few calls as it can.
// ctx ends the asking and hard the work on answers.
func (p *poller) pollKind(ctx, hard context.Context, kind kling.Kind, due []*dueTask) {
	ctx, span := p.telemetry.startQuery(ctx, kind.Name, len(due))
	defer span.End()
	p.telemetry.metrics.polls.Add(ctx, 1)
	hard = trace.ContextWithSpan(hard, span)
	settle := func(d *dueTask, task kling.Task, err error) { p.settle(hard, d, task, err) }
	known, nameless := split(due)
	if kind.Generation == kling.V2 {
		p.pollV2(ctx, known, settle)
	} else {
		p.pollSingly(ctx, p.pollPages(ctx, kind, known, settle), settle)
	}
	p.pollSingly(ctx, nameless, settle)
}

// settler acts on what Kling said of one due task, or on why it said nothing.
type settler func(d *dueTask, task kling.Task, err error)

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

// pollSingly asks for each task by itself, a few at a time.
func (p *poller) pollSingly(ctx context.Context, due []*dueTask, settle settler) {
	p.each(ctx, due, func(d *dueTask) {
		task, err := p.queryOne(ctx, d)
		settle(d, task, err)
	})
}

func (p *poller) queryOne(ctx context.Context, d *dueTask) (kling.Task, error) {
	if d.rec.TaskID != "" {
		return p.client.Query(ctx, d.kind, d.rec.TaskID)
	}
	return p.client.QueryExternal(ctx, d.kind, d.rec.ExternalTaskID)
}

// each calls f for every task, a few at a time, and waits for all. Once ctx has ended, the rest is given back.
func (p *poller) each(ctx context.Context, due []*dueTask, f func(*dueTask)) {
	var wg sync.WaitGroup
	next := make(chan *dueTask)
	for range min(pollWorkers, len(due)) {
		wg.Go(func() {
			for d := range next {
				if ctx.Err() != nil {
					p.giveBack(d)
					continue
				}
				f(d)
			}
		})
	}
	for _, d := range due {
		next <- d
	}
	close(next)
	wg.Wait()
}

// pollV2 asks by lists of ids.
func (p *poller) pollV2(ctx context.Context, due []*dueTask, settle settler) {
	for len(due) > 0 {
		n := min(len(due), idsPerQuery)
		chunk := due[:n]
		due = due[n:]
		ids := make([]string, 0, n)
		for _, d := range chunk {
			ids = append(ids, d.rec.TaskID)
		}
		tasks, err := p.client.QueryTasks(ctx, ids)
		found := byID(tasks)
		p.each(ctx, chunk, func(d *dueTask) {
			task, ok := found[d.rec.TaskID]
			if err == nil && !ok {
				settle(d, kling.Task{}, errNotListed)
				return
			}
			settle(d, task, err)
		})
	}
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
func (p *poller) pollPages(ctx context.Context, kind kling.Kind, due []*dueTask, settle settler) (left []*dueTask) {
	left = due
	for page := 1; len(left) >= bulkFrom && page <= max(1, len(due)/2); page++ {
		tasks, err := p.client.List(ctx, kind, page, pageSize)
		if err != nil {
			return p.postpone(ctx, left, err, settle)
		}
		left = p.settleListed(ctx, left, byID(tasks), settle)
		if len(tasks) < pageSize {
			break
		}
	}
	return left
}

// postpone settles tasks that could not be asked about: single queries would fare no better.
func (p *poller) postpone(ctx context.Context, due []*dueTask, err error, settle settler) []*dueTask {
	p.each(ctx, due, func(d *dueTask) { settle(d, kling.Task{}, err) })
	return nil
}

func (p *poller) settleListed(
	ctx context.Context, due []*dueTask, listed map[string]kling.Task, settle settler,
) (left []*dueTask) {
	var found []*dueTask
	for _, d := range due {
		if _, ok := listed[d.rec.TaskID]; ok {
			found = append(found, d)
		} else {
			left = append(left, d)
		}
	}
	p.each(ctx, found, func(d *dueTask) { settle(d, listed[d.rec.TaskID], nil) })
	return left
}
