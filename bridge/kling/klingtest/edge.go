package klingtest

import (
	"cmp"
	"html"
	"net/http"
	"strconv"
)

// Page is an HTML page, as of something that stands before Kling, given instead of its answer.
type Page struct {
	HTTPStatus int    // zero: 403
	Title      string // also its heading; empty: the status and its text
	AfterStore bool   // the call is handled all the same: a create call stores its task
}

// Raw is any other answer that is not Kling's, such as another vendor's JSON or a redirect.
type Raw struct {
	HTTPStatus  int    // zero: 200
	ContentType string // empty: application/json
	Location    string // of a redirect
	Body        string
	AfterStore  bool // the call is handled all the same
}

func (Page) fault() {}
func (Raw) fault()  {}

// Edge is something before Kling that answers in its place, on routes that exist and others.
type Edge struct {
	Answer Fault // mostly a [Page] or a [Raw]; whatever it is, no call that meets it reaches Kling
	// Spares says what reaches Kling all the same; kind is that of a create call, a v1 query or a v1 list. Nil: nothing.
	Spares func(route Route, kind string) bool
}

// SetEdge puts something before Kling from now on, or takes it away: nil. Tasks that exist go on, call back, and have
// their files served.
func (s *Server) SetEdge(e *Edge) { s.edge.Store(e) }

// SetRetired makes each create call of the kind end with that answer from now on, such as [Gone1201] or [HTML404]. Nil
// brings the route back. Tasks that exist go on and can be queried: what Kling does with those was not recorded.
func (s *Server) SetRetired(kind string, answer Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.retired[kind] = answer
}

// edgeFault returns what an edge answers; nil: the call reaches Kling.
func (s *Server) edgeFault(c call) Fault {
	e := s.edge.Load()
	if e == nil || e.Spares != nil && e.Spares(c.route, c.kind.Name) {
		return nil
	}
	return e.Answer
}

// retiredFault returns what a retired create route answers; nil: it is none.
func (s *Server) retiredFault(c call) Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.route != RouteCreate {
		return nil
	}
	return s.retired[c.kind.Name]
}

// edgeAnswers are what was seen in place of Kling's answers, or what stands for it (public reports, 2026).
func edgeAnswers() []Fault {
	return []Fault{
		Page{HTTPStatus: http.StatusForbidden, Title: "Attention Required!"},
		Page{HTTPStatus: http.StatusBadRequest, Title: "400 The plain HTTP request was sent to HTTPS port"},
		Page{HTTPStatus: http.StatusNotFound},
		Page{HTTPStatus: http.StatusOK, Title: "Just a moment..."},
		Raw{HTTPStatus: http.StatusForbidden, Body: `{"error":"insufficient_user_quota"}`},
		Raw{Body: `{"id":"video_1","object":"video","status":"queued"}`},
		Raw{HTTPStatus: http.StatusFound, ContentType: "text/html", Location: "https://login.invalid/"},
	}
}

func (p Page) reply() reply {
	status := cmp.Or(p.HTTPStatus, http.StatusForbidden)
	title := html.EscapeString(cmp.Or(p.Title, strconv.Itoa(status)+" "+http.StatusText(status)))
	return Raw{HTTPStatus: status, ContentType: "text/html", Body: "<html>\r\n<head><title>" + title +
		"</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n</body>\r\n</html>\r\n"}.reply()
}

func (r Raw) reply() reply {
	r.ContentType = cmp.Or(r.ContentType, "application/json")
	return reply{status: cmp.Or(r.HTTPStatus, http.StatusOK), raw: &r}
}
