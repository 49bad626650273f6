package klingtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// Limits of queries for many tasks.
const (
	maxIDs       = 20                  // of both sorts in one call (recorded 2026-09)
	defaultLimit = 100                 // of POST /tasks
	maxLimit     = 500                 // likewise; POST /solutions has it by default
	taskHistory  = 30 * 24 * time.Hour // that a page looks back on its own
)

// shows reports whether the call's surface has the task: /tasks has those of both generations (recorded 2026-09),
// /solutions those of solutions only.
func (c call) shows(t *task) bool {
	return (c.generation() == kling.Solutions) == (t.Kind.Generation == kling.Solutions)
}

// queryTasks answers for tasks by either sort of id. Ids that are unknown are left out (a live probe, 2026-09).
func (s *Server) queryTasks(r *http.Request, c call) (Fault, func() reply) {
	ids, external := r.URL.Query().Get("task_ids"), r.URL.Query().Get("external_task_ids")
	if (ids == "") == (external == "") {
		s.violate("GET %s: want one of task_ids and external_task_ids", r.URL.Path)
		return refuse(&refusal{1201, "task_ids or external_task_ids is required"})
	}
	wanted := strings.Split(ids+external, ",")
	if len(wanted) > maxIDs {
		return refuse(&refusal{1201, fmt.Sprintf("task_ids and external_task_ids cannot exceed %d in total", maxIDs)})
	}
	fault := s.queryFault(QueryView{Route: c.route, IDs: wanted})
	return fault, func() reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		index := s.byID
		if external != "" {
			index = s.byExternal
		}
		found := []any{}
		for _, id := range wanted {
			t := index[id]
			if t == nil {
				t = s.forgotten(id, kling.Kind{Generation: c.generation()})
			}
			if t != nil && c.shows(t) && s.visible(t) {
				found = append(found, s.showV2(t, RenderedQuery))
			}
		}
		return accept(found)
	}
}

// pageQuery is the body of POST /tasks and POST /solutions.
type pageQuery struct {
	StartTime digits `json:"start_time"` // ms
	EndTime   digits `json:"end_time"`
	Cursor    string `json:"cursor"`
	Limit     *int   `json:"limit"`
	Filters   []struct {
		Key    string   `json:"key"`
		Values []string `json:"values"`
	} `json:"filters"`

	limit      int
	start, end int64 // ms
	before     int   // number of the task that the page before ended with
}

// digits are a number as a string or as itself: both were taken (recorded 2026-09).
type digits string

// UnmarshalJSON keeps the digits.
func (d *digits) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) != nil {
		text = string(raw)
	}
	*d = digits(text)
	return nil
}

// queryPage answers with a page of tasks, the newest first.
func (s *Server) queryPage(r *http.Request, c call) (Fault, func() reply) {
	raw, _, refused := s.readBody(r)
	if refused != nil {
		return refuse(refused)
	}
	q, ok := s.parsePage(c, raw)
	if !ok {
		s.violate("POST %s: a field has a wrong value", r.URL.Path)
		return refuse(&refusal{1201, "start_time, end_time, cursor, limit or filters value is invalid"})
	}
	return s.queryFault(QueryView{Route: c.route}), func() reply { return accept(s.page(c, q)) }
}

func (s *Server) parsePage(c call, raw []byte) (pageQuery, bool) {
	now := s.options.Now()
	q := pageQuery{start: now.Add(-taskHistory).UnixMilli(), end: now.UnixMilli(), before: -1}
	if json.Unmarshal(raw, &q) != nil || !q.limitFor(c) {
		return q, false
	}
	var err error
	parse := func(text string, into *int64) {
		if text != "" && err == nil {
			*into, err = strconv.ParseInt(text, 10, 64)
		}
	}
	before := int64(q.before)
	parse(q.Cursor, &before)
	if q.Cursor == "" { // which stands for both times too
		parse(string(q.StartTime), &q.start)
		parse(string(q.EndTime), &q.end)
	}
	q.before = int(before)
	for _, f := range q.Filters {
		if f.Key != "status" && (f.Key != "product_type" || c.generation() == kling.Solutions) {
			return q, false
		}
	}
	return q, err == nil
}

// limitFor sets how many tasks a page has at most, and reports whether that many can be asked for. For solutions nothing
// is too little (their pages, 2026-09).
func (q *pageQuery) limitFor(c call) bool {
	q.limit = defaultLimit
	if c.generation() == kling.Solutions {
		q.limit = maxLimit
	}
	if q.Limit != nil {
		q.limit = *q.Limit
	}
	if c.generation() == kling.Solutions {
		q.limit = max(q.limit, 1)
	}
	return q.limit >= 1 && q.limit <= maxLimit
}

// takes reports whether a task is asked for, wherever the page begins.
func (q pageQuery) takes(t *task) bool {
	created := t.CreatedAt.UnixMilli()
	if created < q.start || created > q.end {
		return false
	}
	for _, f := range q.Filters {
		value := t.statusV2()
		if f.Key == "product_type" {
			value = strings.ReplaceAll(string(t.Kind.Pool), "-", "_")
		}
		if !slices.Contains(f.Values, value) {
			return false
		}
	}
	return true
}

type taskPage struct {
	Result     []any  `json:"result"`
	Count      int    `json:"count"`
	NextCursor string `json:"next_cursor"`
	HasMore    bool   `json:"has_more"`
}

func (s *Server) page(c call, q pageQuery) taskPage {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := taskPage{Result: []any{}}
	tasks := s.tasks
	if q.before >= 0 {
		tasks = tasks[:min(q.before, len(tasks))]
	}
	last := 0
	for _, t := range slices.Backward(tasks) {
		if !c.shows(t) || !q.takes(t) || !s.visible(t) {
			continue
		}
		if len(p.Result) == q.limit {
			p.HasMore, p.NextCursor = true, strconv.Itoa(last)
			break
		}
		p.Result, last = append(p.Result, s.showV2(t, RenderedList)), t.number
	}
	p.Count = len(p.Result)
	return p
}
