package klingtest

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const (
	tasksPath     = "/tasks"
	solutionsPath = "/solutions"
	costsPath     = "/account/costs"
)

var modelSegment = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// call is a request to the API, as far as its method and path tell.
type call struct {
	route Route      // empty: the path is right but the method wrong
	kind  kling.Kind // of creates, v1 queries and v1 lists
	model string     // of v2 creates
	id    string     // of v1 queries
	sync  kling.SyncCall
}

// generation is the one that the call belongs to; empty for what serves all.
func (c call) generation() kling.Generation {
	switch c.route {
	case RouteTasks, RouteTaskPage:
		return kling.V2
	case RouteSolutions, RouteSolutionPage:
		return kling.Solutions
	default:
		return c.kind.Generation
	}
}

// keyOnly reports whether the call takes static keys only: all but the older generation does (recorded 2026-09).
func (c call) keyOnly() bool { return c.generation() == kling.V2 || c.generation() == kling.Solutions }

// routes finds the call that a path means.
type routes struct {
	fixed map[string]kling.Kind // v1 and solutions, by path
	v2    []kling.Kind
	sync  map[string]kling.SyncCall // by path
}

func newRoutes(kinds kling.Kinds) routes {
	rs := routes{fixed: map[string]kling.Kind{}, sync: map[string]kling.SyncCall{}}
	for _, c := range kling.SyncCalls() {
		rs.sync[c.Path] = c
	}
	for _, k := range kinds.All() {
		if k.Generation == kling.V2 {
			rs.v2 = append(rs.v2, k)
			continue
		}
		if _, taken := rs.fixed[k.Path]; !taken {
			rs.fixed[k.Path] = k
		}
	}
	return rs
}

// match returns the call and whether the path, still escaped, is known at all.
func (rs routes) match(method, path string) (c call, known bool) {
	switch path {
	case tasksPath:
		return call{route: byMethod(method, RouteTasks, RouteTaskPage)}, true
	case solutionsPath:
		return call{route: byMethod(method, RouteSolutions, RouteSolutionPage)}, true
	case costsPath:
		return call{route: byMethod(method, RouteCosts, "")}, true
	}
	if sync, ok := rs.sync[path]; ok {
		c := call{sync: sync}
		if method == sync.Method {
			c.route = RouteSync
		}
		return c, true
	}
	if k, ok := rs.fixed[path]; ok {
		list := RouteList
		if k.Generation != kling.V1 {
			list = ""
		}
		return call{route: byMethod(method, list, RouteCreate), kind: k}, true
	}
	if c, ok := rs.matchQuery(method, path); ok {
		return c, true
	}
	for _, k := range rs.v2 {
		if model, ok := matchModel(k.Path, path); ok {
			return call{route: byMethod(method, "", RouteCreate), kind: k, model: model}, true
		}
	}
	return call{}, false
}

func byMethod(method string, get, post Route) Route {
	switch method {
	case http.MethodGet:
		return get
	case http.MethodPost:
		return post
	default:
		return ""
	}
}

func (rs routes) matchQuery(method, path string) (call, bool) {
	i := strings.LastIndexByte(path, '/')
	k, ok := rs.fixed[path[:max(i, 0)]]
	if !ok || k.Generation != kling.V1 {
		return call{}, false
	}
	id, err := url.PathUnescape(path[i+1:])
	if err != nil || id == "" {
		return call{}, false
	}
	return call{route: byMethod(method, RouteQuery, ""), kind: k, id: id}, true
}

// matchModel returns what stands in the path where the pattern has {model}.
func matchModel(pattern, path string) (model string, ok bool) {
	before, after, _ := strings.Cut(pattern, "{model}")
	rest, ok := strings.CutPrefix(path, before)
	if !ok {
		return "", false
	}
	model, ok = strings.CutSuffix(rest, after)
	return model, ok && modelSegment.MatchString(model)
}
