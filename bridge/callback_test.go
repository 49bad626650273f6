package bridge_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

const webhookSecret = "whsec_dGVzdHNlY3JldHRlc3RzZWNyZXR0ZXN0c2VjcmV0MTI="

// silent is a Kling that takes tasks and says nothing about them.
func silent() klingtest.Options {
	return klingtest.Options{Callbacks: klingtest.None, SubmittedFor: time.Minute, Duration: time.Hour}
}

// task submits a request and returns its task, which carries the callback URL.
func (w *world) task(kind, id string) klingtest.TaskView {
	w.t.Helper()
	before := len(w.sim.Tasks())
	w.request(testRequest{Kind: kind, ID: id, Body: body(coreBodies[kind])})
	if err := w.sim.WaitTasks(w.ctx, before+1); err != nil {
		w.t.Fatal(err)
	}
	w.eventually("the task is announced", func() bool {
		return w.count("KLING_EVENTS", "kling.progress.*.submitted."+events.Token(id)) == 1
	})
	tasks := w.sim.Tasks()
	return tasks[len(tasks)-1]
}

// post sends a callback and returns the answer's status.
func (w *world) post(url, body string) int {
	w.t.Helper()
	return w.do(http.MethodPost, url, body, nil).status
}

// answer is what came back on a callback.
type answer struct {
	status int
	header http.Header
}

func (w *world) do(method, url, body string, header http.Header) answer {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, method, url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := noRedirects.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return answer{resp.StatusCode, resp.Header}
}

// bare is the URL on which tasks created elsewhere are called back, beside a task's own.
func bare(url string) string {
	base, _, _ := strings.Cut(url, "/text2video/")
	return base + "/text2video"
}

var noRedirects = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// v1Body is a flat callback of the older API.
func v1Body(task klingtest.TaskView, status string) string {
	return fmt.Sprintf(`{"task_id":%q,"task_status":%q,"task_info":{"external_task_id":%q},"task_result":{"images":[],`+
		`"videos":[{"id":"871000000000000777","url":"https://v15.example/a.mp4?x=1&y=a~b","duration":"5.1"}],"audios":[]},`+
		`"task_status_msg":"","created_at":1775000000123,"updated_at":1775000229530,"final_unit_deduction":"3"}`,
		task.ID, status, task.ExternalID)
}

// v2Body is a callback of the newer API.
func v2Body(task klingtest.TaskView, status string) string {
	return fmt.Sprintf(`{"id":%q,"status":%q,"message":"","create_time":1790600000865,"update_time":1790600180112,`+
		`"external_id":%q,"outputs":[{"type":"video","id":"9","url":"https://v15.example/b.mp4?x=1&y=a~b","duration":"5.041"}],`+
		`"billing":[{"charge_type":"unit","amount":"2.5"},{"charge_type":"unit","amount":"0.5"}]}`,
		task.ID, status, task.ExternalID)
}

func TestEveryBodyShapeCompletes(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	shapes := map[string]struct {
		kind  string
		body  func(klingtest.TaskView) string
		units string
	}{
		"v1-flat": {"text2video", func(v klingtest.TaskView) string { return v1Body(v, "succeed") }, "3"},
		"v1-wrapped": {"text2video", func(v klingtest.TaskView) string {
			return `{"code":0,"message":"success","request_id":"r","data":` + v1Body(v, "succeed") + `}`
		}, "3"},
		"v2-flat": {"text-to-video", func(v klingtest.TaskView) string { return v2Body(v, "succeeded") }, "3"},
		"v2-wrapped": {"text-to-video", func(v klingtest.TaskView) string {
			return `{"code":0,"message":"success","data":` + v2Body(v, "succeeded") + `}`
		}, "3"},
		"id-as-a-number": {"text2video", func(v klingtest.TaskView) string {
			return strings.Replace(v1Body(v, "succeed"), `"`+v.ID+`"`, v.ID, 1)
		}, "3"},
		"almost-nothing": {"text2video", func(klingtest.TaskView) string {
			return `{"task_status":"succeed","task_result":{"videos":[{"url":"https://v15.example/a.mp4?x=1&y=a~b"}]}}`
		}, ""},
		"nulls": {"text2video", func(v klingtest.TaskView) string {
			return `{"task_id":"` + v.ID + `","task_status":"succeed","task_info":null,"task_status_msg":null,` +
				`"task_result":{"videos":[null,{"id":null,"url":"https://v15.example/a.mp4?x=1&y=a~b","duration":null}],"images":null}}`
		}, ""},
	}
	for name, c := range shapes {
		task := w.task(c.kind, name)
		if got := w.post(task.CallbackURL, c.body(task)); got != http.StatusOK {
			t.Errorf("%s: %d", name, got)
			continue
		}
		ev := w.await(name)
		if ev.Status != events.StatusSucceed || ev.TaskID != task.ID || ev.Units != c.units || ev.ExternalTaskID != task.ExternalID {
			t.Errorf("%s: %+v", name, ev)
		}
		if ev.Result.Videos[0].URL[len("https://v15.example/a.mp4"):] != "?x=1&y=a~b" {
			t.Errorf("%s: URL %s", name, ev.Result.Videos[0].URL)
		}
		w.stored("KLING_EVENTS", "kling.completion.*.*."+name)
	}
}

func TestCallbackStatusCodes(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	task := w.task("text2video", "codes")
	url := task.CallbackURL
	base := strings.TrimSuffix(bare(url), "/callbacks/text2video")
	good := v1Body(task, "processing")
	cut := strings.LastIndex(url, "/")
	for name, c := range map[string]struct {
		method, url, body string
		want              int
	}{
		"not JSON":                {"POST", url, `{"task_id"`, 400},
		"not an object":           {"POST", url, `["a"]`, 400},
		"a number":                {"POST", url, `7`, 400},
		"empty":                   {"POST", url, ``, 400},
		"not UTF-8":               {"POST", url, "{\"task_id\":\"\xff\"}", 400},
		"two objects":             {"POST", url, `{}{}`, 400},
		"deep":                    {"POST", url, strings.Repeat(`{"a":`, 20_000) + "1" + strings.Repeat("}", 20_000), 400},
		"other task id":           {"POST", url, strings.ReplaceAll(good, task.ID, "871000000000000999"), 409},
		"other external id":       {"POST", url, strings.ReplaceAll(good, task.ExternalID, "someone-elses"), 409},
		"two task ids":            {"POST", url, strings.Replace(good, `{"task_id"`, `{"task_id":"871000000000000999","task_id"`, 1), 409},
		"one in capitals":         {"POST", url, strings.Replace(good, `{"task_id"`, `{"TASK_ID":"871000000000000999","task_id"`, 1), 409},
		"another beside it":       {"POST", url, strings.Replace(good, `{`, `{"external_task_id":"someone-elses",`, 1), 409},
		"another around it":       {"POST", url, `{"task_id":"871000000000000999","data":` + good + `}`, 409},
		"too large":               {"POST", url, `{"a":"` + strings.Repeat("x", 256<<10) + `"}`, 413},
		"GET":                     {"GET", url, ``, 405},
		"PUT":                     {"PUT", url, good, 405},
		"HEAD":                    {"HEAD", url, ``, 405},
		"no signature":            {"POST", url[:cut], good, 404},
		"empty signature":         {"POST", url[:cut+1], good, 404},
		"wrong signature":         {"POST", url[:cut+1] + strings.Repeat("A", 43), good, 404},
		"longer":                  {"POST", url + "/x", good, 404},
		"trailing slash":          {"POST", url + "/", good, 404},
		"GET with wrong one":      {"GET", url[:cut+1] + "nope", ``, 404},
		"another task's":          {"POST", strings.Replace(url, "/codes/", "/other/", 1), good, 404},
		"another kind's":          {"POST", strings.Replace(url, "/text2video/", "/image2video/", 1), good, 404},
		"unknown kind":            {"POST", strings.Replace(url, "/text2video/", "/nonsense/", 1), good, 404},
		"adoption is off":         {"POST", base + "/callbacks/text2video", good, 404},
		"root":                    {"GET", base + "/", ``, 200},
		"health":                  {"GET", base + "/healthz", ``, 200},
		"readiness is not here":   {"GET", base + "/readyz", ``, 404},
		"unclean path":            {"POST", strings.Replace(url, "/callbacks/", "/callbacks//", 1), good, 404},
		"dots":                    {"POST", strings.Replace(url, "/callbacks/", "/x/../callbacks/", 1), good, 404},
		"encoded slash":           {"POST", strings.Replace(url, "/codes/", "%2Fcodes/", 1), good, 404},
		"right, and not terminal": {"POST", url, good, 200},
		"right, and repeated":     {"POST", url, good, 200},
		"right, and unknown":      {"POST", url, v1Body(task, "pondering"), 200},
		"right, and stale":        {"POST", url, v1Body(task, "submitted"), 200},
	} {
		t.Run(name, func(t *testing.T) {
			resp := w.do(c.method, c.url, c.body, nil)
			if resp.status != c.want {
				t.Errorf("%s: got %d, want %d", c.method, resp.status, c.want)
			}
			if c.want == http.StatusMethodNotAllowed && resp.header.Get("Allow") != http.MethodPost {
				t.Errorf("Allow is %q", resp.header.Get("Allow"))
			}
		})
	}
	want := []string{"progress.submitted bridge", "progress.processing callback"}
	if got := w.events("codes"); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestCallbackAfterTheEnd(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	task := w.task("text2video", "ended")
	for _, status := range []string{"succeed", "succeed", "failed", "processing", "submitted"} {
		if got := w.post(task.CallbackURL, v1Body(task, status)); got != http.StatusOK {
			t.Errorf("%s: %d", status, got)
		}
	}
	if got := w.post(task.CallbackURL, strings.ReplaceAll(v1Body(task, "succeed"), task.ID, "871000000000000999")); got != http.StatusConflict {
		t.Errorf("another task's end: %d, want 409", got)
	}
	want := []string{"progress.submitted bridge", "completion.succeed callback"}
	if got := w.events("ended"); !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestWebhookSignatures(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{WebhookSecrets: []string{"whsec_b2xkb2xkb2xk", webhookSecret}}})
	task := w.task("text2video", "signed")
	signer, err := kling.NewWebhook([]string{webhookSecret})
	if err != nil {
		t.Fatal(err)
	}
	headers := func(at time.Time, body string) http.Header {
		return http.Header{
			"Webhook-Id": {"msg-1"}, "Webhook-Timestamp": {strconv.FormatInt(at.Unix(), 10)},
			"Webhook-Signature": {signer.Sign("msg-1", at, []byte(body))},
		}
	}
	good := v1Body(task, "succeed")
	console := bare(task.CallbackURL)
	test := `{"id":"1","status":"submitted","outputs":[],"message":"","create_time":1,"update_time":1}`
	for _, c := range []struct {
		name, url, body string
		header          http.Header
		want            int
	}{
		{"unsigned", task.CallbackURL, good, nil, 401},
		{"signed for another body", task.CallbackURL, good, headers(time.Now(), good+" "), 401},
		{"signed long ago", task.CallbackURL, good, headers(time.Now().Add(-6*time.Minute), good), 401},
		{"signed in the future", task.CallbackURL, good, headers(time.Now().Add(6*time.Minute), good), 401},
		{"wrong URL and no signature", task.CallbackURL + "x", good, nil, 404},
		{"console test", console, test, headers(time.Now(), test), 200},
		{"console test without signature", console, test, nil, 404},
		{"console test by GET", console, "", nil, 404},
		{"signed", task.CallbackURL, good, headers(time.Now(), good), 200},
	} {
		method := http.MethodPost
		if c.name == "console test by GET" {
			method = http.MethodGet
		}
		if got := w.do(method, c.url, c.body, c.header).status; got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
	if ev := w.await("signed"); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
	if n := w.count("KLING_EVENTS", "kling.>"); n != 2 {
		t.Errorf("%d events, want submitted and succeed", n)
	}
}

func TestSignedCallbacksOfTheSimulator(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{WebhookSecret: webhookSecret}, bridge: bridge.Options{WebhookSecrets: []string{webhookSecret}},
	})
	if ev := w.await(w.submit("s", "a")); ev.Source != events.SourceCallback {
		t.Errorf("got %+v", ev)
	}
}

func TestTrustQuery(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{CallbackTrust: callback.TrustQuery}})
	task := w.task("text2video", "q")
	if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	w.eventually("Kling was asked", func() bool { return w.sim.Calls().Queries == 1 })
	w.eventually("the poll is done", func() bool { return w.count("KLING_EVENTS", "kling-state.due.>") == 0 })
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 0 {
		t.Error("a callback was believed although Kling says that the task is still running")
	}
	if err := w.sim.Finish(task.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.post(task.CallbackURL, v1Body(task, "failed")); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	if ev := w.await("q"); ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll {
		t.Errorf("got %s by %s", ev.Status, ev.Source)
	}
}

// TestTrustQueryWithoutRecord has Kling call back about a task whose record is lost. The replica that has created it still
// has it in memory, the other one has not.
func TestTrustQueryWithoutRecord(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), replicas: 2, bridge: bridge.Options{CallbackTrust: callback.TrustQuery}})
	task := w.task("text2video", "lost")
	_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
	for i, r := range w.replicas {
		w.forget("kling-state.*.*.*.lost")
		if got := w.post(r.callbackURL+"/callbacks/"+path, v1Body(task, "processing")); got != http.StatusOK {
			t.Fatalf("got %d", got)
		}
		w.eventually("Kling was asked", func() bool { return w.sim.Calls().Queries == i+1 })
		w.eventually("the poll is done", func() bool { return w.count("KLING_EVENTS", "kling-state.due.>") == 0 })
	}
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 0 {
		t.Fatal("a task that is running was ended")
	}
	if err := w.sim.Finish(task.ID); err != nil {
		t.Fatal(err)
	}
	if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	if ev := w.await("lost"); ev.Status != events.StatusSucceed || ev.TaskID != task.ID || ev.ExternalTaskID != task.ExternalID {
		t.Errorf("got %+v", ev)
	}
}

// forget deletes what the stream of events holds on some subjects.
func (w *world) forget(filters ...string) {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		w.t.Fatal(err)
	}
	const deleteFailed = 10057 // the server's code, also for what a newer message has just replaced
	for _, filter := range filters {
		for w.count("KLING_EVENTS", filter) > 0 {
			for _, m := range w.stored("KLING_EVENTS", filter) {
				err := s.DeleteMsg(w.ctx, m.Seq)
				if refused, ok := errors.AsType[*jetstream.APIError](err); err != nil && (!ok || refused.ErrorCode != deleteFailed) {
					w.t.Fatal(err)
				}
			}
		}
	}
}

func TestCallbackWithoutJetStream(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	w := start(t, setup{sim: silent(), natsURL: srv.URL()})
	task := w.task("text2video", "down")
	srv.Stop()
	began := time.Now()
	resp := w.do(http.MethodPost, task.CallbackURL, v1Body(task, "succeed"), nil)
	if resp.status != http.StatusServiceUnavailable || resp.header.Get("Retry-After") == "" {
		t.Errorf("got %d, Retry-After %q", resp.status, resp.header.Get("Retry-After"))
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the answer took %s", took)
	}
	srv.Restart()
	w.eventually("the callback is taken", func() bool {
		return w.post(task.CallbackURL, v1Body(task, "succeed")) == http.StatusOK
	})
	if ev := w.await("down"); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
}

// TestSlowCallback sends a body that never comes.
func TestSlowCallback(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	task := w.task("text2video", "slow")
	addr, path, _ := strings.Cut(strings.TrimPrefix(task.CallbackURL, "http://"), "/")
	conn, err := new(net.Dialer).DialContext(w.ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	began := time.Now()
	fmt.Fprintf(conn, "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{", path)
	answer, err := io.ReadAll(conn)
	if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 408 ")) {
		t.Errorf("got %q, %v", answer, err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("the answer took %s", took)
	}
}
