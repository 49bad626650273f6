package klingtest

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// Limits of v1 lists (Kling's API reference, 2026-10).
const (
	defaultPageSize = 30
	maxPageSize     = 500
	maxVoicesPage   = 1000 // of custom-voices
	maxPageNum      = 1000
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
			return refusal{1201, "Task not found by id/external id: " + c.id}.reply() // recorded 2026-07 and 2026-09
		}
		return accept(s.show(t, RenderedQuery))
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
				page = append(page, s.show(t, RenderedList))
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
