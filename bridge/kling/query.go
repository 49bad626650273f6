package kling

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Query asks for a task by Kling's id. An [*Error] with NotFound set means that Kling has no such task.
func (c *Client) Query(ctx context.Context, k Kind, taskID string) (Task, error) {
	r := request{op: "query", kind: k.Name, method: http.MethodGet}
	return c.queryOne(ctx, r, k, "task_ids", taskID, func(t Task, _ bool) bool { return t.ID == taskID })
}

// QueryExternal asks for a task by the external id it was created with, which must be of the same kind. An [*Error]
// with NotFound set means that Kling has no such task, which may change shortly after a create call.
func (c *Client) QueryExternal(ctx context.Context, k Kind, externalID string) (Task, error) {
	r := request{op: "query external", kind: k.Name, method: http.MethodGet}
	return c.queryOne(ctx, r, k, "external_task_ids", externalID, func(t Task, alone bool) bool {
		return t.ExternalID == externalID || alone && t.ExternalID == "" // Kling does not echo it everywhere
	})
}

// Find asks for a task by Kling's id, wherever it may be, as [Client.FindExternal] does.
func (c *Client) Find(ctx context.Context, k Kind, taskID string) (Task, error) {
	return c.find(k, func(k Kind) (Task, error) { return c.Query(ctx, k, taskID) })
}

// FindExternal asks for a task by the external id it was created with, wherever it may be: by the kind's own query and,
// where that denies it or is no longer served, by GET /tasks, which sees V1 tasks of every kind as well (recorded
// 2026-09). An [*Error] has NotFound set only if everything that was asked denies the task; else it says what was not
// answered.
//
// GET /tasks has no say with an access-key pair, which it refuses, and on a host that does not serve it: Kling's former
// global host answers it with an HTML page (recorded 2026-09).
func (c *Client) FindExternal(ctx context.Context, k Kind, externalID string) (Task, error) {
	return c.find(k, func(k Kind) (Task, error) { return c.QueryExternal(ctx, k, externalID) })
}

func (c *Client) find(k Kind, query func(Kind) (Task, error)) (Task, error) {
	task, err := query(k)
	if err == nil || k.Generation == V2 || !c.HasAPIKey() || !Refused(err) {
		return task, err
	}
	anywhere := Kind{Name: k.Name, Generation: V2}
	task, everywhereErr := query(anywhere)
	if everywhereErr == nil {
		return task, nil
	}
	if failure, ok := errors.AsType[*Error](everywhereErr); ok && !failure.NotFound && !notServed(failure) {
		return Task{}, everywhereErr
	}
	return Task{}, err
}

// notServed tells the answer of a host that does not have a route at all.
func notServed(e *Error) bool { return e.HTTPStatus == http.StatusNotFound && e.Code == 0 }

// Refused reports whether the answer to a query or list concerns only what was asked: a refusal, a page that is not
// Kling's, or something unreadable. Asking for the same in another way may fare better. It does not where Kling is away,
// busy or has no trust in the credentials.
func Refused(err error) bool {
	failure, ok := errors.AsType[*Error](err)
	switch {
	case !ok:
		return false
	case failure.NotFound, failure.Action == ActionReject, failure.HTTPStatus == http.StatusNotFound:
		return true
	case failure.HTTPStatus >= 500, failure.Class == ClassAuth, failure.Class == ClassAccount, failure.Class == ClassCapacity:
		return false
	default:
		return failure.Foreign || errors.Is(err, ErrMalformed)
	}
}

// queryOne asks by one id and returns the task that is wanted, even from an array. alone says that there is no other.
func (c *Client) queryOne(
	ctx context.Context, r request, k Kind, param, id string, wanted func(t Task, alone bool) bool,
) (task Task, err error) {
	done := c.watch(ctx, r.op)
	defer func() { done(err) }()
	if id == "" { // v1 would take it for a list, v2 for a bad request
		return Task{}, r.fail(verdict{action: ActionReject, class: ClassInvalid}, errors.New("want an id"))
	}
	r.path = k.Path + "/" + pathSegment(id)
	if k.Generation != V1 {
		r.path = tasksPath(k.Generation, param, id)
	}
	a, err := c.call(ctx, r)
	if err != nil {
		return Task{}, asNotFound(err)
	}
	tasks, err := decodeTasks(a.data)
	if err != nil {
		return Task{}, r.malformed(a, err)
	}
	if len(tasks) == 0 {
		return Task{}, r.notFound(a)
	}
	for _, t := range tasks {
		if wanted(t, len(tasks) == 1) {
			return t, nil
		}
	}
	// That is no proof that the task does not exist.
	return Task{}, r.malformed(a, fmt.Errorf("%d tasks, none with the id that was asked for", len(tasks)))
}

// MaxPage is the largest list page Kling gives, in tasks.
const MaxPage = 500

// List asks for one page of the tasks of a V1 kind, page 1 being the first; Kling gives up to 500 a page, in an order
// it does not document. Entries that can't be read are left out.
func (c *Client) List(ctx context.Context, k Kind, page, size int) ([]Task, error) {
	r := request{op: "list", kind: k.Name, method: http.MethodGet}
	if k.Generation != V1 {
		return nil, r.fail(verdict{action: ActionReject, class: ClassInvalid}, errors.New("want a kind of API v1"))
	}
	r.path = k.Path + "?pageNum=" + strconv.Itoa(page) + "&pageSize=" + strconv.Itoa(size)
	return c.queryMany(ctx, r)
}

// MaxIDs is how many ids Kling takes in one query of GET /tasks (recorded 2026-09: with more it refuses all of them) and
// of GET /solutions (its solution pages, 2026-09).
const MaxIDs = 20

// QueryTasks asks for tasks of V2 or Solutions by Kling's ids, at most [MaxIDs] of them. The answer has them in any
// order and leaves out those that Kling does not know and those that can't be read.
func (c *Client) QueryTasks(ctx context.Context, g Generation, ids []string) ([]Task, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	return c.queryMany(ctx, request{op: "query tasks", method: http.MethodGet, path: tasksPath(g, "task_ids", ids...)})
}

// queryMany does not let one entry that can't be read hide the others: asked for by itself it will say why.
func (c *Client) queryMany(ctx context.Context, r request) (tasks []Task, err error) {
	done := c.watch(ctx, r.op)
	defer func() { done(err) }()
	a, err := c.call(ctx, r)
	if err != nil {
		return nil, err
	}
	tasks, err = decodeTasks(a.data)
	if err != nil && len(tasks) == 0 {
		return nil, r.malformed(a, err)
	}
	return tasks, nil
}

// tasksPath is the path of a query by ids.
func tasksPath(g Generation, param string, ids ...string) string {
	escaped := make([]string, 0, len(ids))
	for _, id := range ids {
		escaped = append(escaped, url.QueryEscape(id))
	}
	return surface(g) + "?" + param + "=" + strings.Join(escaped, ",")
}

// surface is where tasks are asked for that are not asked for by kind. Solutions have one of their own.
func surface(g Generation) string {
	if g == Solutions {
		return "/solutions"
	}
	return "/tasks"
}

// pathSegment escapes an id. One that is nothing but dots would be resolved as a step in the path.
func pathSegment(id string) string {
	if id == "." || id == ".." {
		return strings.ReplaceAll(id, ".", "%2E")
	}
	return url.PathEscape(id)
}
