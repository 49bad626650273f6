package bridge_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// edge stands between a bridge and the simulated Kling and answers in its place what a test wants.
type edge struct {
	base http.RoundTripper

	mu       sync.Mutex
	refuse   func(r *http.Request, body string) *page // nil: nothing
	late     bool                                     // it lets through what it refuses, and answers all the same
	answered []string                                 // bodies of the creates that it answered
}

// page is an answer that is not Kling's.
type page struct {
	status int
	body   string
}

func (e *edge) set(refuse func(r *http.Request, body string) *page) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.refuse = refuse
}

// creates returns the bodies of the creates that it answered.
func (e *edge) creates() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.answered)
}

func (e *edge) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	p, late := e.answer(r, string(body))
	if p != nil && !late {
		return p.response(r), nil
	}
	through := r.Clone(r.Context())
	through.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := e.base.RoundTrip(through)
	if p == nil || err != nil {
		return resp, err
	}
	return p.response(r), resp.Body.Close()
}

// answer returns what it answers; nil: nothing.
func (e *edge) answer(r *http.Request, body string) (p *page, late bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refuse == nil {
		return nil, false
	}
	p = e.refuse(r, body)
	if p != nil && r.Method == http.MethodPost {
		e.answered = append(e.answered, body)
	}
	return p, e.late
}

func (p page) response(r *http.Request) *http.Response {
	return &http.Response{
		StatusCode: p.status, Header: http.Header{"Content-Type": {"text/html"}}, Request: r,
		Body: io.NopCloser(strings.NewReader(p.body)),
	}
}

// behindEdge starts a world whose Kling is behind an edge that lets everything through.
func behindEdge(t *testing.T, s setup) (*world, *edge) {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	e := &edge{base: transport}
	outside := &world{t: t, ctx: t.Context()}
	outside.startSim(s.sim)
	client, err := kling.NewClient(kling.Options{
		BaseURL: outside.sim.URL, Credentials: kling.Credentials{APIKey: apiKey}, Timeout: 5 * time.Second, Transport: e,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.bridge.Kling = client
	w := start(t, s)
	w.sim = outside.sim
	return w, e
}

const html404 = "<html>\r\n<head><title>404 Not Found</title></head>\r\n<body><center><h1>404 Not Found</h1></center></body></html>"

// retired answers the creates of one kind with a page, as a retired route does (recorded 2026-09: HTTP 404, HTML).
func retired(kind string) func(*http.Request, string) *page {
	return func(r *http.Request, _ string) *page {
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/"+kind) {
			return &page{404, html404}
		}
		return nil
	}
}

// TestRetiredRoute has 300 requests of a kind whose route is a page before 50 of another kind in the same lane.
func TestRetiredRoute(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{bridge: bridge.Options{ProbeInterval: 300 * time.Millisecond}})
	admin := w.replicas[0].adminURL
	e.set(retired("multi-image2video"))
	bodies := map[string]map[string]any{
		"text2video":        coreBodies["text2video"],
		"multi-image2video": {"prompt": "a", "image_list": []map[string]string{{"image": "https://example.com/a.png"}}},
	}
	submit := func(kind string, n int) {
		for i := range n {
			w.request(testRequest{Kind: kind, ID: fmt.Sprintf("%s-%d", kind, i), Body: body(bodies[kind])})
		}
	}
	submit("multi-image2video", 300)
	submit("text2video", 50)
	all := func(kind string, n int) func() bool {
		return func() bool { return w.count("KLING_EVENTS", "kling.completion."+kind+".succeed.*") == uint64(n) }
	}
	w.eventually("the other kind is done", all("text2video", 50))
	w.eventually("readiness names the kind", func() bool { return notReady(t, admin, "kind:multi-image2video") })
	if _, text := get(t, admin+"/readyz"); !strings.Contains(text, "404 Not Found") || strings.Contains(text, "pool:video") ||
		strings.Contains(text, `"kling"`) {
		t.Errorf("readiness says %s", text)
	}
	status, err := w.client.Status(w.ctx)
	if err != nil || len(status.Pools[0].Paused) != 1 || !strings.HasPrefix(status.Pools[0].Paused[0], "kind multi-image2video: ") {
		t.Errorf("%v, %+v", err, status)
	}
	if n := w.count("KLING_EVENTS", "kling.completion.multi-image2video.*.*"); n != 0 {
		t.Errorf("%d requests of the retired kind have ended", n)
	}
	e.set(nil)
	w.eventually("the retired kind is done as well", all("multi-image2video", 300))
	w.eventually("it is ready", func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK })
	w.settledDown()
	if n := len(w.sim.Tasks()); n != 350 {
		t.Errorf("%d tasks for 350 requests", n)
	}
}

// TestEdgeInTheWay has a firewall or a quota answer for a while: every create, or everything there is.
func TestEdgeInTheWay(t *testing.T) {
	t.Parallel()
	const blocked = "<html><head><title>Attention Required! | Cloudflare</title></head></html>"
	answers := map[string]page{
		"403 page": {403, blocked}, "400 page": {400, blocked}, "200 page": {200, blocked},
		"403 quota": {403, `{"error":"insufficient_user_quota"}`},
	}
	for name, answer := range answers {
		for _, all := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, all %t", name, all), func(t *testing.T) {
				t.Parallel()
				w, e := behindEdge(t, setup{bridge: bridge.Options{
					ProbeInterval: 200 * time.Millisecond, LookupWindow: 500 * time.Millisecond,
				}})
				edgeInTheWay(w, e, answer, all)
			})
		}
	}
}

func edgeInTheWay(w *world, e *edge, answer page, all bool) {
	w.t.Helper()
	admin := w.replicas[0].adminURL
	e.set(func(r *http.Request, _ string) *page {
		if all || r.Method == http.MethodPost {
			return &answer
		}
		return nil
	})
	const n = 10
	for i := range n {
		w.request(testRequest{Kind: "text2video", ID: fmt.Sprintf("v1-%d", i), Body: body(coreBodies["text2video"])})
		w.request(testRequest{Kind: "text-to-video", ID: fmt.Sprintf("v2-%d", i), Body: body(coreBodies["text-to-video"])})
	}
	component := "kind:text2video"
	if all {
		component = "kling"
	}
	w.eventually("readiness names "+component, func() bool { return notReady(w.t, admin, component) })
	words := "Attention Required! | Cloudflare"
	if strings.HasPrefix(answer.body, "{") {
		words = "insufficient_user_quota"
	}
	if _, text := get(w.t, admin+"/readyz"); !strings.Contains(text, words) {
		w.t.Errorf("readiness says %s", text)
	}
	w.eventually("it was probed", func() bool { return len(e.creates()) >= 6 })
	if ended := w.count("KLING_EVENTS", "kling.completion.>"); ended != 0 {
		w.t.Errorf("%d requests have ended", ended)
	}
	e.set(nil)
	for i := range n {
		for _, id := range []string{fmt.Sprintf("v1-%d", i), fmt.Sprintf("v2-%d", i)} {
			if ev := w.await(id); ev.Status != events.StatusSucceed {
				w.t.Errorf("%s: %s", id, ev.Status)
			}
		}
	}
	w.eventually("it is ready", func() bool { status, _ := get(w.t, admin+"/readyz"); return status == http.StatusOK })
	w.settledDown()
	if tasks, dead := len(w.sim.Tasks()), w.count("KLING_DEAD", ">"); tasks != 2*n || dead != 0 {
		w.t.Errorf("%d tasks and %d dead letters for %d requests", tasks, dead, 2*n)
	}
}

// TestBodyRefusedAlone has a gateway refuse one body: it is rejected once others were seen to pass, and quotes the page.
func TestBodyRefusedAlone(t *testing.T) {
	t.Parallel()
	for _, status := range []int{413, 200} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			w, e := behindEdge(t, setup{bridge: bridge.Options{
				ProbeInterval: 200 * time.Millisecond, LookupWindow: 300 * time.Millisecond,
			}})
			e.set(func(r *http.Request, body string) *page {
				if r.Method == http.MethodPost && strings.Contains(body, "huge") {
					return &page{status, "<html><head><title>413 Request Entity Too Large</title></head></html>"}
				}
				return nil
			})
			w.submit("refused", "huge")
			for i := range 10 {
				w.submit(fmt.Sprintf("passes-%d", i), "a")
			}
			for i := range 10 {
				if ev := w.await(fmt.Sprintf("passes-%d", i)); ev.Status != events.StatusSucceed {
					t.Errorf("%s: %s", ev.RequestID, ev.Status)
				}
			}
			ev := w.await("refused")
			if ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInvalid || ev.Error.Retryable ||
				ev.Error.HTTPStatus != status || !strings.Contains(ev.Error.Message, "413 Request Entity Too Large") {
				t.Errorf("got %+v, %+v", ev.Status, ev.Error)
			}
			if n := len(e.creates()); n != 3 {
				t.Errorf("it was sent %d times", n)
			}
			w.settledDown()
		})
	}
}

// TestAnswerRefusedAlone has a gateway let one body through and refuse what Kling answers, again and again: the task is
// adopted rather than its request rejected, which would invite its user to pay twice. Nobody has recorded that.
func TestAnswerRefusedAlone(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{sim: silent(), bridge: bridge.Options{
		ProbeInterval: 200 * time.Millisecond, LookupWindow: 300 * time.Millisecond,
	}})
	e.set(func(r *http.Request, body string) *page {
		if r.Method == http.MethodPost && strings.Contains(body, "disliked") {
			return &page{403, "<html><head><title>Attention Required!</title></head></html>"}
		}
		return nil
	})
	e.mu.Lock()
	e.late = true
	e.mu.Unlock()
	w.submit("refused", "disliked")
	for i := range 10 {
		w.submit(fmt.Sprintf("passes-%d", i), "a")
	}
	w.eventually("all tasks are announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 11 })
	if n, dead := len(w.sim.Tasks()), w.count("KLING_DEAD", ">"); n != 11 || dead != 0 {
		t.Errorf("%d tasks and %d dead letters for 11 requests", n, dead)
	}
	if n := len(e.creates()); n != 3 {
		t.Errorf("it was sent %d times", n)
	}
}

// TestTaskOfALostAnswerEndsThePause has a gateway refuse the answer to a request whose task is made, and no other request follows:
// once the task is adopted, nothing says any more that its kind does not work.
func TestTaskOfALostAnswerEndsThePause(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{sim: silent(), bridge: bridge.Options{LookupWindow: time.Hour}}) // it is never sent again
	e.set(func(r *http.Request, _ string) *page {
		if strings.Contains(r.URL.Path, "costs") { // by which it is told what is in the way of all from what is not
			return nil
		}
		return &page{200, html404}
	})
	e.mu.Lock()
	e.late = true
	e.mu.Unlock()
	w.submit("lost", "a")
	w.eventually("it is not ready", func() bool { status, _ := get(t, w.replicas[0].adminURL+"/readyz"); return status != http.StatusOK })
	e.set(nil)
	w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == 1 })
	w.eventually("it is ready", func() bool { status, _ := get(t, w.replicas[0].adminURL+"/readyz"); return status == http.StatusOK })
}

// TestProbesAlternate refuses everything: no request is tried twice before each was tried once.
func TestProbesAlternate(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{bridge: bridge.Options{ProbeInterval: 100 * time.Millisecond}})
	w.request(testRequest{
		Kind: "text2video", ID: "urgent", Priority: events.PriorityHigh, Body: body(map[string]any{"prompt": "urgent"}),
	})
	w.await("urgent")
	e.set(retired("text2video"))
	const n = 5
	for i := range n {
		w.request(testRequest{
			Kind: "text2video", ID: fmt.Sprint(i), Priority: events.Priorities()[i%3], Body: body(map[string]any{"prompt": fmt.Sprint(i)}),
		})
	}
	w.eventually("each was tried", func() bool { return len(e.creates()) >= 3*n })
	tried := map[string]int{}
	for _, body := range e.creates()[:3*n] {
		tried[body]++
	}
	for body, times := range tried {
		if times < 2 || times > 4 {
			t.Errorf("tried %d times in %d: %s", times, 3*n, body)
		}
	}
	if len(tried) != n {
		t.Errorf("%d of %d requests were tried", len(tried), n)
	}
}

// TestPageInPlaceOfAnAnswer has one request answered by a page that says 200, more often than it would be sent without any
// answer: it goes on when the page is gone.
func TestPageInPlaceOfAnAnswer(t *testing.T) {
	t.Parallel()
	w, e := behindEdge(t, setup{bridge: bridge.Options{
		ProbeInterval: 100 * time.Millisecond, LookupWindow: 100 * time.Millisecond,
	}})
	e.set(func(r *http.Request, _ string) *page {
		if r.Method == http.MethodPost {
			return &page{200, html404}
		}
		return nil
	})
	w.submit("patient", "a")
	w.eventually("it was sent five times", func() bool { return len(e.creates()) >= 5 })
	e.set(nil)
	if ev := w.await("patient"); ev.Status != events.StatusSucceed {
		t.Errorf("got %s, %+v", ev.Status, ev.Error)
	}
	if n := len(w.sim.Tasks()); n != 1 {
		t.Errorf("%d tasks", n)
	}
}
