package create

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// maxLost is how often a request is sent while every answer is lost. Each send may have made a task, whatever the query
// says: there is an end to what is risked for one request. What a page answers is not counted, it ends with the page.
const maxLost = 3

// lost says why a request that Kling has no task of is not sent again; empty: it may be. It is looked up until its
// deadline then.
func (c *Creator) lost(ctx context.Context, j *attempt) (why string, err error) {
	if sends := j.rec.Attempt - j.certain(); sends >= maxLost {
		return fmt.Sprintf("%d creates of request %s were not answered, and Kling denies their task: nothing is sent again, look for it in Kling's console",
			sends, j.Req.ID), nil
	}
	known, err := c.disproved(ctx, j)
	if known == "" || err != nil {
		return "", err
	}
	return fmt.Sprintf("a create of request %s was not answered, and Kling's denial counts for nothing: it denies %s, too, which it has made",
		j.Req.ID, known), nil
}

// disproved returns the external id of a task of the kind that Kling has made and now denies: its query by external id
// does not work, and what it says of others is no proof. Empty: it works as far as is known.
func (c *Creator) disproved(ctx context.Context, j *attempt) (externalID string, err error) {
	if c.Queries.works(j.rec.Account, j.Req.Kind) {
		return "", nil
	}
	ev, err := c.sample(ctx, j)
	if ev == nil || err != nil {
		return "", err
	}
	client, err := c.client(j)
	if err != nil {
		return "", err
	}
	_, err = client.FindExternal(ctx, j.Req.Kind, ev.ExternalTaskID)
	switch {
	case err == nil:
		c.Queries.seen(j.rec.Account, j.Req.Kind)
		return "", nil
	case kling.IsNotFound(err):
		c.Log.ErrorContext(ctx, "Kling denies a task that it has made", slog.String("kind", j.Req.Kind.Name),
			slog.String("external_task_id", ev.ExternalTaskID), slog.String("task_id", ev.TaskID))
		return ev.ExternalTaskID, nil
	default:
		return "", err
	}
}

// sample returns the announcement of the kind's newest task, if it is of another request and on the same account; nil: there is
// none that tells anything.
func (c *Creator) sample(ctx context.Context, j *attempt) (*events.Event, error) {
	m, err := c.Store.Guarded().Last(ctx, c.Store.Subjects.Progress(j.Req.Kind.Name, events.StatusSubmitted, "*"))
	if errors.Is(err, bus.ErrNoMessage) || err == nil && time.Since(m.Time) > sampleAge {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var ev events.Event
	if err := json.Unmarshal(m.Data, &ev); err != nil || ev.ExternalTaskID == "" || ev.RequestID == j.Req.ID {
		return nil, nil
	}
	if cmp.Or(ev.Account, kling.DefaultAccount) != j.rec.Account {
		return nil, nil
	}
	return &ev, nil
}

// sampleAge is how old the task may be that a query is tried with. Kling keeps tasks for 30 days (its task pages, 2026-09).
const sampleAge = 24 * time.Hour

// queryTrust knows the kinds whose query by external id has found a task, by account.
//
// Safe for concurrent use.
type queryTrust struct {
	mu    sync.Mutex
	kinds map[accountKind]bool
}

type accountKind struct{ account, kind string }

// NewQueryTrust knows of no query yet.
func NewQueryTrust() *queryTrust { return &queryTrust{kinds: map[accountKind]bool{}} }

func (q *queryTrust) seen(account string, k kling.Kind) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.kinds[accountKind{account, k.Name}] = true
}

func (q *queryTrust) works(account string, k kling.Kind) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.kinds[accountKind{account, k.Name}]
}
