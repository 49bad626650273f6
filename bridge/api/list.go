package api

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// section is a part of the list of tasks. The sections follow a request's life, and each is read when the one before it
// is through: a request that moves on while a caller pages may be listed twice, but none is left out.
type section int

const (
	sectionHigh     section = iota // requests in the stream, in the order in which they are taken
	sectionNormal                  //
	sectionLow                     //
	sectionInFlight                // records, in the order of their subjects, which stay the same when a timer is set anew
	sectionEnded                   // completions, newest first

	sectionDead // dead letters, newest first, which are a list of their own
)

// List returns one page of requests. 400: a query that makes no sense.
func (a *API) List(ctx context.Context, q events.TaskQuery) (events.TaskList, error) {
	filter, err := newTaskFilter(q, a.Kinds)
	if err != nil {
		return events.TaskList{}, err
	}
	p, err := newPage[events.Task](q.PageQuery, sectionHigh, sectionEnded)
	if err != nil {
		return events.TaskList{}, err
	}
	for ; ; p.at = (place{Section: p.at.Section + 1}) {
		if err := a.listSection(ctx, filter, p); err != nil {
			return events.TaskList{}, fmt.Errorf("list tasks: %w", err)
		}
		if p.full() || p.at.Section == sectionEnded {
			break
		}
	}
	if err := a.finishListed(ctx, p.entries); err != nil {
		return events.TaskList{}, fmt.Errorf("list tasks: %w", err)
	}
	tasks, cursor, err := p.close(!p.full(), a.Bus.MaxPayload())
	return events.TaskList{Tasks: tasks, Cursor: cursor}, err
}

// listSection adds what is asked for of the section at which the page stands, and stops when the page is full.
func (a *API) listSection(ctx context.Context, f taskFilter, p *page[events.Task]) error {
	if !f.wantsSection(p.at.Section) {
		return nil
	}
	switch p.at.Section {
	case sectionEnded:
		return a.listEnded(ctx, f, p)
	case sectionInFlight:
		return a.listInFlight(ctx, f, p)
	default:
		return a.listWaiting(ctx, f, p)
	}
}

// finishListed adds what Kling deducted after the deadline to requests that have ended before, and takes out what only an
// answer about a single one has.
func (a *API) finishListed(ctx context.Context, tasks []events.Task) error {
	return parallel(len(tasks), func(i int) error {
		err := a.addLate(ctx, events.Token(tasks[i].RequestID), &tasks[i])
		tasks[i].Result, tasks[i].WaitsFor, tasks[i].Wait = nil, "", nil
		return err
	})
}

func orAny(token string) string {
	if token == "" {
		return "*"
	}
	return token
}

// listWaiting adds requests that are in the stream: those that wait, and those whose create call is under way.
func (a *API) listWaiting(ctx context.Context, f taskFilter, p *page[events.Task]) error {
	subject := a.Subjects.Request(orAny(f.kind), events.Priorities()[p.at.Section])
	for !p.full() {
		batch := min(p.wants(), maxExamined-p.examined)
		var held []*request.Waiting
		err := a.Bus.Scan(ctx, a.Subjects.RequestsStream(), subject, p.at.Seq+1, batch, func(m *bus.Message) bool {
			p.at.Seq = m.Seq
			p.examined++
			if r := a.Waiting.Parse(m); r != nil {
				r.Req.Body, r.Msg.Data = request.Object{}, nil // may be large
				held = append(held, r)
			}
			return len(held) < batch && p.examined < maxExamined
		})
		if err != nil {
			return err
		}
		if err := a.addWaiting(ctx, f, p, held); err != nil {
			return err
		}
		if len(held) < batch && !p.full() {
			return nil // the stream has ended
		}
	}
	return nil
}

func (a *API) addWaiting(ctx context.Context, f taskFilter, p *page[events.Task], held []*request.Waiting) error {
	tasks := make([]*events.Task, len(held))
	err := parallel(len(held), func(i int) (err error) {
		tasks[i], err = a.listedWaiting(ctx, held[i])
		return err
	})
	for i, task := range tasks {
		if task != nil && f.wants(task.Status) && f.wantsNamed(task) {
			p.add(*task, place{Section: p.at.Section, Seq: held[i].Req.Sequence})
		}
	}
	return err
}

// listedWaiting is nil for a request whose task exists, that has ended, or that repeats another: all of them will be
// acked soon.
func (a *API) listedWaiting(ctx context.Context, r *request.Waiting) (*events.Task, error) {
	newest, err := a.Store.Guarded().Last(ctx, a.Subjects.AnythingOf(r.Req.Token))
	if errors.Is(err, bus.ErrNoMessage) {
		task := a.waitingTask(r)
		return &task, nil
	}
	if err != nil {
		return nil, err
	}
	if p, _ := a.Subjects.Parse(newest.Subject); p.Type != subjects.TypePending && p.Type != subjects.TypeDue {
		return nil, nil
	}
	rec, err := store.Decode(newest.Data)
	if err != nil || rec.State != store.StateCreating || rec.Owner != r.Req.Sequence {
		return nil, err
	}
	task := a.recordTask(rec, false)
	return &task, nil
}

// listInFlight adds requests that a record is kept of.
func (a *API) listInFlight(ctx context.Context, f taskFilter, p *page[events.Task]) error {
	keys, err := a.recordKeys(ctx, orAny(f.kind), p.at.Key)
	if err != nil {
		return err
	}
	for len(keys) > 0 && !p.full() {
		chunk := keys[:min(len(keys), p.wants(), maxExamined-p.examined)]
		keys = keys[len(chunk):]
		tasks := make([]*events.Task, len(chunk))
		err := parallel(len(chunk), func(i int) (err error) {
			tasks[i], err = a.listedInFlight(ctx, f, chunk[i])
			return err
		})
		if err != nil {
			return err
		}
		for i, task := range tasks {
			p.at.Key = chunk[i]
			p.examined++
			if task != nil {
				p.add(*task, p.at)
			}
		}
	}
	return nil
}

// recordKeys lists the records of a kind after a key, sorted. A key is the end of a record's subject, whether its timer
// has fired or not. Both are read in one step: between two a record could move from the one to the other.
func (a *API) recordKeys(ctx context.Context, kind, after string) ([]string, error) {
	var keys []string
	err := a.Bus.Subjects(ctx, a.Subjects.EventsStream(), a.Subjects.Records(kind), func(subject string) {
		parsed, ok := a.Subjects.Parse(subject)
		if key := parsed.Kind + "." + parsed.Pool + "." + parsed.Token; ok && key > after {
			keys = append(keys, key)
		}
	})
	slices.Sort(keys)
	return slices.Compact(keys), err
}

// listedInFlight is nil for what is listed elsewhere or not asked for.
func (a *API) listedInFlight(ctx context.Context, f taskFilter, key string) (*events.Task, error) {
	token := key[strings.LastIndexByte(key, '.')+1:]
	task, known, err := a.known(ctx, token)
	if err != nil || !known || task.Status.Terminal() || !f.wants(task.Status) || !f.wantsNamed(&task) {
		return nil, err
	}
	if task.Status == events.StatusCreating && f.wantsSection(sectionNormal) {
		listed, err := a.inStream(ctx, token)
		if err != nil || listed {
			return nil, err
		}
	}
	return &task, nil
}

// inStream reports whether the request of a record is in the stream, where it is listed.
func (a *API) inStream(ctx context.Context, token string) (bool, error) {
	e, err := a.Store.Load(ctx, token)
	if errors.Is(err, bus.ErrNoMessage) { // back in the stream, or ended
		return true, nil
	}
	if err != nil {
		return false, err
	}
	m, err := a.Bus.Next(ctx, a.Subjects.RequestsStream(), a.Subjects.AllRequests(), e.Rec.Owner)
	if errors.Is(err, bus.ErrNoMessage) {
		return false, nil
	}
	return err == nil && m.Seq == e.Rec.Owner, err
}

// listEnded adds completions, newest first.
func (a *API) listEnded(ctx context.Context, f taskFilter, p *page[events.Task]) error {
	subject := a.Subjects.Completion(orAny(f.kind), f.endStatus(), "*")
	return addNewest(ctx, a, a.Subjects.EventsStream(), subject, f.since, p, func(m *bus.Message) (*events.Task, error) {
		task, err := a.listedEnded(m)
		if err != nil || !f.wantsEnd(&task) {
			return nil, err
		}
		return &task, nil
	})
}
