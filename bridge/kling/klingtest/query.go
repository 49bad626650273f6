package klingtest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// Limits of lists (Kling's API reference, 2026-10).
const (
	defaultPageSize = 30
	maxPageSize     = 500
	maxVoicesPage   = 1000 // of custom-voices
	maxPageNum      = 1000
	defaultLimit    = 100 // of POST /tasks
	maxLimit        = 500
	taskHistory     = 30 * 24 * time.Hour // that POST /tasks looks back on its own

	costsInterval = time.Second // GET /account/costs: at most one query a second
)

// visible reports whether a task can be queried yet.
func (s *Server) visible(t *task) bool {
	return s.options.Now().Sub(t.CreatedAt) >= s.scaled(s.options.QueryLag)
}

// queryOne answers for one v1 task, by either id, on the kind it was created on.
func (s *Server) queryOne(c call) (Fault, func() reply) {
	fault := s.queryFault(QueryView{Route: c.route, Kind: c.kind.Name, IDs: []string{c.id}})
	return fault, func() reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		t := s.lookup(c.id)
		if t == nil {
			t = s.forgotten(c.id, c.kind)
		}
		if t == nil || t.Kind.Name != c.kind.Name || !s.visible(t) {
			// No source says how Kling answers here: 404 is the likeliest of what clients are prepared for.
			return refusal{1203, "task not found"}.reply()
		}
		return accept(t.render(renderQuery))
	}
}

// queryList answers with a page of a v1 kind's tasks, the newest first: Kling's order is not documented.
func (s *Server) queryList(r *http.Request, c call) (Fault, func() reply) {
	largest := maxPageSize
	if c.kind.Name == "custom-voices" {
		largest = maxVoicesPage
	}
	num, numOK := queryNumber(r.URL.Query(), "pageNum", 1, maxPageNum)
	size, sizeOK := queryNumber(r.URL.Query(), "pageSize", defaultPageSize, largest)
	if !numOK || !sizeOK {
		s.violate("list %s: page %s is out of range", c.kind.Name, r.URL.RawQuery)
		return refuse(&refusal{1201, "pageNum or pageSize value is invalid"})
	}
	fault := s.queryFault(QueryView{Route: c.route, Kind: c.kind.Name})
	return fault, func() reply {
		s.mu.Lock()
		defer s.mu.Unlock()
		page := []any{}
		skip := (num - 1) * size
		for _, t := range slices.Backward(s.byKind[c.kind.Name]) {
			switch {
			case !s.visible(t):
			case skip > 0:
				skip--
			case len(page) < size:
				page = append(page, t.render(renderQuery))
			default:
				return accept(page)
			}
		}
		return accept(page)
	}
}

func queryNumber(q url.Values, name string, otherwise, largest int) (n int, ok bool) {
	if q.Get(name) == "" {
		return otherwise, true
	}
	n, err := strconv.Atoi(q.Get(name))
	return n, err == nil && n >= 1 && n <= largest
}

// queryTasks answers for v2 tasks by either sort of id. Ids that are unknown are left out (a live probe, 2026-09).
func (s *Server) queryTasks(r *http.Request, c call) (Fault, func() reply) {
	ids, external := r.URL.Query().Get("task_ids"), r.URL.Query().Get("external_task_ids")
	if (ids == "") == (external == "") {
		s.violate("GET %s: want one of task_ids and external_task_ids", tasksPath)
		return refuse(&refusal{1201, "task_ids or external_task_ids is required"})
	}
	wanted := strings.Split(ids+external, ",")
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
				t = s.forgotten(id, kling.Kind{Generation: kling.V2})
			}
			if t != nil && t.Kind.Generation == kling.V2 && s.visible(t) {
				found = append(found, t.render(renderQuery))
			}
		}
		return accept(found)
	}
}

// pageQuery is the body of POST /tasks.
type pageQuery struct {
	StartTime string `json:"start_time"` // ms, as strings
	EndTime   string `json:"end_time"`
	Cursor    string `json:"cursor"`
	Limit     int    `json:"limit"`
	Filters   []struct {
		Key    string   `json:"key"`
		Values []string `json:"values"`
	} `json:"filters"`

	start, end int64 // ms
	before     int   // number of the task that the page before ended with
}

// queryPage answers with a page of v2 tasks, the newest first.
func (s *Server) queryPage(r *http.Request, c call) (Fault, func() reply) {
	raw, _, refused := s.readBody(r)
	if refused != nil {
		return refuse(refused)
	}
	q, ok := s.parsePage(raw)
	if !ok {
		s.violate("POST %s: a field has a wrong value", tasksPath)
		return refuse(&refusal{1201, "start_time, end_time, cursor, limit or filters value is invalid"})
	}
	return s.queryFault(QueryView{Route: c.route}), func() reply { return accept(s.page(q)) }
}

func (s *Server) parsePage(raw []byte) (pageQuery, bool) {
	now := s.options.Now()
	q := pageQuery{Limit: defaultLimit, start: now.Add(-taskHistory).UnixMilli(), end: now.UnixMilli(), before: -1}
	if json.Unmarshal(raw, &q) != nil || q.Limit < 1 || q.Limit > maxLimit {
		return q, false
	}
	var err error
	parse := func(text string, into *int64) {
		if text != "" && err == nil {
			*into, err = strconv.ParseInt(text, 10, 64)
		}
	}
	before := int64(q.before)
	parse(q.StartTime, &q.start)
	parse(q.EndTime, &q.end)
	parse(q.Cursor, &before)
	q.before = int(before)
	for _, f := range q.Filters {
		if f.Key != "status" && f.Key != "product_type" {
			return q, false
		}
	}
	return q, err == nil
}

// takes reports whether a task is asked for, wherever the page begins.
func (q pageQuery) takes(t *task) bool {
	created := t.CreatedAt.UnixMilli()
	if t.Kind.Generation != kling.V2 || created < q.start || created > q.end {
		return false
	}
	for _, f := range q.Filters {
		value := t.Status
		if f.Key == "product_type" {
			value = string(t.Kind.Pool)
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

func (s *Server) page(q pageQuery) taskPage {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := taskPage{Result: []any{}}
	tasks := s.tasks
	if q.before >= 0 {
		tasks = tasks[:min(q.before, len(tasks))]
	}
	last := 0
	for _, t := range slices.Backward(tasks) {
		if !q.takes(t) || !s.visible(t) {
			continue
		}
		if len(p.Result) == q.Limit {
			p.HasMore, p.NextCursor = true, strconv.Itoa(last)
			break
		}
		p.Result, last = append(p.Result, t.render(renderQuery)), t.number
	}
	p.Count = len(p.Result)
	return p
}

// pack is a resource pack of the account.
type pack struct {
	Name      string  `json:"resource_pack_name"`
	ID        string  `json:"resource_pack_id"`
	Type      string  `json:"resource_pack_type"`
	Total     float64 `json:"total_quantity"`
	Remaining float64 `json:"remaining_quantity"`
	Purchased int64   `json:"purchase_time"`
	Effective int64   `json:"effective_time"`
	Invalid   int64   `json:"invalid_time"`
	Status    string  `json:"status"`
}

type costs struct {
	Code  int    `json:"code"`
	Msg   string `json:"msg"`
	Packs []pack `json:"resource_pack_subscribe_infos"`
}

// queryCosts answers with one pack that never ends, at most once a second.
func (s *Server) queryCosts(r *http.Request, c call) (Fault, func() reply) {
	for _, name := range []string{"start_time", "end_time"} {
		if _, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64); err != nil {
			s.violate("GET %s: %s is missing or no integer", costsPath, name)
			return refuse(&refusal{1201, name + " is required"})
		}
	}
	if !s.costsAllowed() {
		s.violate("GET %s: more than once a second", costsPath)
		return refuse(&refusal{code: 1302})
	}
	now := s.options.Now()
	infos := costs{Msg: "success", Packs: []pack{{
		Name: "Simulated pack", ID: "simulated", Type: "decreasing_total", Total: 5000, Remaining: 5000,
		Purchased: now.UnixMilli(), Effective: now.UnixMilli(), Invalid: now.AddDate(0, 6, 0).UnixMilli(), Status: "online",
	}}}
	return s.queryFault(QueryView{Route: c.route}), func() reply { return accept(infos) }
}

func (s *Server) costsAllowed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.options.Now()
	if !s.costsAt.IsZero() && now.Sub(s.costsAt) < costsInterval {
		return false
	}
	s.costsAt = now
	return true
}
