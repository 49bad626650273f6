package events

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"

	"github.com/nats-io/nats.go/jetstream"
)

// AllTasks yields the requests that a query picks, page by page: those that have not ended, then the others, newest
// first. The limit of the query is that of a page. A request that moves on meanwhile may come twice. An error comes last.
func (c *Client) AllTasks(ctx context.Context, q TaskQuery) iter.Seq2[Task, error] {
	return pages(q.PageQuery, func(page PageQuery) ([]Task, string, error) {
		q.PageQuery = page
		list, err := c.Tasks(ctx, q)
		return list.Tasks, list.Cursor, err
	})
}

// AllDeadLetters yields the dead letters, page by page, newest first. An error comes last.
func (c *Client) AllDeadLetters(ctx context.Context) iter.Seq2[DeadLetter, error] {
	return pages(PageQuery{}, func(page PageQuery) ([]DeadLetter, string, error) {
		list, err := c.DeadLetters(ctx, page)
		return list.Dead, list.Cursor, err
	})
}

func pages[T any](page PageQuery, next func(PageQuery) ([]T, string, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for page := page; ; {
			list, cursor, err := next(page)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, t := range list {
				if !yield(t, nil) {
					return
				}
			}
			if cursor == "" {
				return
			}
			page.Cursor = cursor
		}
	}
}

// Events yields the events of one request from the first to its completion, which is the last, whether they are stored
// already or come later. It waits as [Client.Await] does; an error comes last.
func (c *Client) Events(ctx context.Context, id string) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if err := validateID(id); err != nil {
			yield(Message{}, err)
			return
		}
		token := Token(id)
		r := c.reader([]string{c.subjects.CompletionOf(token), c.subjects.Progress("*", "*", token)})
		r.start.DeliverPolicy = jetstream.DeliverAllPolicy
		for msg, err := range r.messages(ctx) {
			if err != nil {
				yield(Message{}, fmt.Errorf("events of request %q: %w", id, err))
				return
			}
			m, err := c.message(msg)
			if err != nil || Token(m.Event.RequestID) != token {
				continue // as Await does
			}
			if !yield(m, nil) || m.Type == TypeCompletion {
				return
			}
		}
	}
}

// Archived returns the body of an archived event, and of another one an error.
func (m Message) Archived() (Archived, error) {
	var a Archived
	if m.Type != TypeArchived {
		return a, fmt.Errorf("%s: is no archived event", m.Subject)
	}
	if err := json.Unmarshal(m.Raw, &a); err != nil {
		return a, fmt.Errorf("decode event on %s: %w", m.Subject, err)
	}
	return a, nil
}
