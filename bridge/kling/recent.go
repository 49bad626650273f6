package kling

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// MaxRecent is the longest page of [Client.ListRecent] that Kling gives (its API reference, 2026-09).
const MaxRecent = 500

// Page is one page of recent tasks, in an order that Kling does not document.
type Page struct {
	Tasks []Task
	Next  string // cursor of the page after it; empty: there is none
}

// ListRecent asks for a page of the tasks created since then. cursor is the Next of the page before, or empty for the
// first page. Entries that can't be read are left out. It wants an API key.
//
// The list of V2 holds the tasks of V1 kinds as well, translated (recorded 2026-09); that of Solutions holds its own
// only. V1 has no such list, but one for each kind ([Client.List]). No list tells the kind of a task.
func (c *Client) ListRecent(ctx context.Context, g Generation, since time.Time, cursor string) (page Page, err error) {
	r := request{op: "list recent", method: http.MethodPost, path: surface(g)}
	if g == V1 {
		return Page{}, r.fail(verdict{action: ActionReject, class: ClassInvalid}, errors.New("want the API v2 or solutions"))
	}
	done := c.watch(ctx, r.op)
	defer func() { done(err) }()
	body, err := json.Marshal(recentQuery(since, c.now(), cursor))
	if err != nil {
		return Page{}, r.fail(verdict{action: ActionReject, class: ClassInvalid}, err)
	}
	r.body = [][]byte{body}
	a, err := c.call(ctx, r)
	if err != nil {
		return Page{}, err
	}
	return r.readPage(a)
}

// recentQuery is the body of the call. Kling takes times as strings and as numbers, and documents the former on most
// pages; a cursor overrides them (its API reference, 2026-09).
func recentQuery(since, until time.Time, cursor string) map[string]any {
	if cursor != "" {
		return map[string]any{"cursor": cursor, "limit": MaxRecent}
	}
	return map[string]any{
		"start_time": strconv.FormatInt(since.UnixMilli(), 10),
		"end_time":   strconv.FormatInt(until.UnixMilli(), 10),
		"limit":      MaxRecent,
	}
}

// readPage reads {result, count, next_cursor, has_more}.
func (r request) readPage(a answer) (Page, error) {
	var w struct {
		Result     json.RawMessage `json:"result"`
		NextCursor json.RawMessage `json:"next_cursor"`
		HasMore    json.RawMessage `json:"has_more"`
	}
	if err := json.Unmarshal(a.data, &w); err != nil {
		return Page{}, r.malformed(a, err)
	}
	tasks, err := decodeTasks(w.Result)
	if err != nil && len(tasks) == 0 {
		return Page{}, r.malformed(a, err)
	}
	page := Page{Tasks: tasks}
	var cursor text
	if string(w.HasMore) != "false" && json.Unmarshal(w.NextCursor, &cursor) == nil {
		page.Next = string(cursor)
	}
	return page, nil
}
