package bridge_test

import (
	"cmp"
	"net/http"
	"strings"

	"pgregory.net/rapid"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// trouble is what the first create calls meet.
type trouble struct {
	name   string
	times  int
	fault  klingtest.Fault
	blind  int  // queries that fail after such a call
	silent bool // no callback comes either
}

// What was seen of something that answers in Kling's place (public reports, 2026), refusing or not.
var (
	refusingPage = klingtest.Page{HTTPStatus: http.StatusForbidden, Title: "Attention Required!"}
	badRequest   = klingtest.Page{HTTPStatus: http.StatusBadRequest, Title: "400 The plain HTTP request was sent to HTTPS port"}
	challenge    = klingtest.Page{HTTPStatus: http.StatusOK, Title: "Just a moment..."}
	quota        = klingtest.Raw{HTTPStatus: http.StatusForbidden, Body: `{"error":"insufficient_user_quota"}`}
	otherVendor  = klingtest.Raw{Body: `{"id":"video_1","object":"video","status":"queued"}`}
)

func troubles() []trouble {
	behind := func(p klingtest.Page) klingtest.Page {
		p.AfterStore = true
		return p
	}
	relayed := otherVendor
	relayed.AfterStore = true
	return []trouble{
		{}, {}, {}, {}, {}, {},
		{name: "the first reply is reset after the task is stored", times: 1, fault: klingtest.ResetAfterStore},
		{name: "the first reply is a 504 although the task is stored", times: 1, fault: klingtest.Gateway504AfterStore},
		{name: "the first reply is truncated", times: 1, fault: klingtest.TruncateAfterStore},
		{name: "the first reply is a 500 although the task is stored", times: 1, fault: klingtest.Error500AfterStore},
		{name: "the first reply is reset after the task is stored and the first queries fail", times: 1, fault: klingtest.ResetAfterStore, blind: 3},
		{name: "the first call is reset before anything is stored", times: 1, fault: klingtest.ResetBeforeStore},
		{name: "the first call ends in a 500 without a task", times: 1, fault: klingtest.Error500NoTask},
		{name: "the first two calls end in a 502 without a task", times: 2, fault: klingtest.HTML502NoTask},
		{name: "the first call finds no capacity", times: 1, fault: klingtest.Answer{Code: 1303}},
		{name: "the first call is too fast", times: 1, fault: klingtest.TooFast1302},
		{name: "the first call is too fast and gets no code", times: 1, fault: klingtest.TooFastNoCode429},
		{name: "the first reply says that the external id exists", times: 1, fault: klingtest.ExistsAfterStore},
		{name: "the first reply says that the external id exists and the first queries fail", times: 1, fault: klingtest.ExistsAfterStore, blind: 3},
		{name: "the first call is told that the route is retired", times: 1, fault: klingtest.Gone1201},
		{name: "the first call finds a page at its route", times: 1, fault: klingtest.HTML404},
		{name: "the first call is refused by a page", times: 1, fault: refusingPage},
		{name: "the first three calls are refused by a page", times: 3, fault: badRequest},
		{name: "the first call is refused for want of a quota", times: 1, fault: quota},
		{name: "the first call is answered by a page and no task", times: 1, fault: challenge},
		{name: "the first reply is a page although the task is stored", times: 1, fault: behind(challenge)},
		{name: "the first reply is another vendor's although the task is stored", times: 1, fault: relayed},
		{name: "the first reply is a refusing page although the task is stored, and no callback comes", times: 1, fault: behind(refusingPage), silent: true},
	}
}

// outcome says what a create call with a fault leaves its client with: nothing known although no task is stored, or a
// refusal although one is.
func (tr trouble) outcome() (unknown, disguised bool) {
	switch f := tr.fault.(type) {
	case klingtest.Effect:
		return f == klingtest.ResetBeforeStore || f == klingtest.Error500NoTask || f == klingtest.HTML502NoTask, false
	case klingtest.Page:
		return f.HTTPStatus < 300 && !f.AfterStore, f.HTTPStatus >= 300 && f.AfterStore
	case klingtest.Raw:
		status := cmp.Or(f.HTTPStatus, http.StatusOK)
		return status < 300 && !f.AfterStore, status >= 300 && f.AfterStore
	default:
		return false, false
	}
}

// repeating is the wish of a further message of an id. A task that is disguised as a refusal goes to whichever message is
// tried next, so that all of them have to wish for the same.
func (w wish) repeating(first wish) wish {
	if _, disguised := first.creates.outcome(); disguised {
		return first
	}
	if _, disguised := w.creates.outcome(); disguised {
		w.creates = trouble{}
	}
	return w
}

// pages is how many answers that are not Kling's a request with this trouble meets.
func (tr trouble) pages() int {
	switch tr.fault.(type) {
	case klingtest.Page, klingtest.Raw:
		return tr.times
	}
	if tr.fault == klingtest.HTML404 {
		return tr.times
	}
	return 0
}

// maxPages is how many answers that are not Kling's a request may get while others pass, before it is rejected.
const maxPages = 3

// mayReject reports whether a request may be rejected that asks for nothing wrong: Kling has refused it once, or
// something before Kling again and again while others passed, and the completion says so.
func (s *system) mayReject(w wish, ev events.Event) bool {
	if ev.Error == nil {
		return false
	}
	if w.creates.fault == klingtest.Gone1201 {
		return strings.Contains(ev.Error.Message, "no longer available")
	}
	pages := w.creates.pages()
	often := pages >= maxPages || s.edges > 0 && s.edges+pages > 1 // an edge has others pass only before it and after
	return often && strings.HasPrefix(strings.TrimPrefix(ev.Error.Message, "try 2: "), "something before Kling has refused this request")
}

// gossip is what becomes of the callbacks.
type gossip struct {
	name  string
	fault func(end bool) klingtest.CallbackFault
}

func gossips() []gossip {
	none := gossip{"", func(bool) klingtest.CallbackFault { return klingtest.CallbackFault{} }}
	return []gossip{
		none, none, none,
		{"callbacks are lost", func(bool) klingtest.CallbackFault { return klingtest.CallbackFault{Lose: true} }},
		{"the callback of the end is lost", func(end bool) klingtest.CallbackFault { return klingtest.CallbackFault{Lose: end} }},
		{"callbacks come three times", func(bool) klingtest.CallbackFault { return klingtest.CallbackFault{Repeat: 2} }},
		{"callbacks come in the wrong order", func(end bool) klingtest.CallbackFault {
			return klingtest.CallbackFault{Reorder: !end}
		}},
		{"callbacks come before the reply to the create call", func(bool) klingtest.CallbackFault {
			return klingtest.CallbackFault{Early: true} // which means something at the creation only
		}},
		{"the callback of a success is thin", func(end bool) klingtest.CallbackFault {
			return klingtest.CallbackFault{Thin: end}
		}},
		{"the callback of a success is thin and comes twice, before the reply to the create call", func(end bool) klingtest.CallbackFault {
			return klingtest.CallbackFault{Early: !end, Thin: end, Repeat: 1}
		}},
		{"callbacks say nothing", func(bool) klingtest.CallbackFault { return klingtest.CallbackFault{Body: `{}`} }},
	}
}

// callback is what becomes of a callback, of the end or before it.
func (w wish) callback(end bool) klingtest.CallbackFault {
	if w.creates.silent {
		return klingtest.CallbackFault{Lose: true}
	}
	return w.callbacks.fault(end)
}

// tells reports whether a callback of Kling's says itself what has happened. After any other, Kling is asked.
func (w wish) tells(status string) bool {
	switch f := w.callback(ended(status)); {
	case f.Body != "":
		return false
	case f.Thin:
		return status == klingtest.StatusFailed
	default:
		return true
	}
}

func ended(status string) bool {
	return status != klingtest.StatusSubmitted && status != klingtest.StatusProcessing
}

// anEdge has something answer in Kling's place until all is well again.
func anEdge(t *rapid.T) step {
	answers := map[string]klingtest.Fault{
		"a page that refuses": refusingPage, "a page that does not": challenge, "a quota": quota, "another vendor": otherVendor,
	}
	before := map[string]func(klingtest.Route, string) bool{
		"everything":       nil,
		"all create calls": func(r klingtest.Route, _ string) bool { return r != klingtest.RouteCreate },
		"all questions":    func(r klingtest.Route, _ string) bool { return r == klingtest.RouteCreate },
		"every " + kindV1:  func(_ klingtest.Route, kind string) bool { return kind != kindV1 },
	}
	n := rapid.IntRange(0, 1).Draw(t, "account")
	const route = "in the place of the route of " + kindV1
	answer := pick(t, "answer", "a page that refuses", "a page that does not", "a quota", "another vendor")
	where := pick(t, "before", "everything", "all create calls", "all questions", "every "+kindV1, route)
	if where == route {
		return step{"a page is " + route, func(s *system) {
			s.edges++
			s.accounts[n%len(s.accounts)].sim.SetRetired(kindV1, klingtest.HTML404)
		}}
	}
	return step{answer + " stands before " + where, func(s *system) {
		s.edges++
		s.accounts[n%len(s.accounts)].sim.SetEdge(&klingtest.Edge{Answer: answers[answer], Spares: before[where]})
	}}
}
