package bridge_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// thinSuccesses are callbacks of tasks that succeeded, without any result (recorded 2026-09); ID stands for the task's.
var thinSuccesses = []string{
	`{"task_id":"ID","task_status":"succeed"}`,
	`{"task_status":"succeed"}`,
	`{"task_id":"ID","task_status":"succeed","task_result":{}}`,
	`{"task_id":"ID","task_status":"succeed","task_result":null}`,
	`{"task_id":"ID","task_status":"succeed","task_result":{"images":[],"videos":null,"audios":[]}}`,
	`{"task_id":"ID","task_status":"succeed","task_result":{"videos":[{"id":"9","url":"","duration":"5"}]}}`,
	`{"task_id":"ID","task_status":"succeed","task_result":[]}`,
	`{"code":"success","message":"","data":{"status":"succeeded","task_id":"ID","url":"https://h.example/a.mp4"}}`,
}

// notUnderstood are bodies that say nothing of a task's state.
var notUnderstood = []string{
	`{}`, `{"task_id":"ID"}`, `{"code":0,"data":[]}`, `{"code":"success","data":{"task_id":"ID","status":"SUCCESS","progress":"100%"}}`,
	"\uFEFF{}",
}

// TestThinSuccessAsksKling has callbacks say less than Kling knows.
func TestThinSuccessAsksKling(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: metered(t, bridge.Options{})})
	bodies := slices.Concat(thinSuccesses, notUnderstood)
	for i, body := range bodies {
		id := fmt.Sprintf("thin-%d", i)
		task := w.task("text2video", id)
		body = strings.ReplaceAll(body, "ID", task.ID)
		if err := w.sim.Finish(task.ID); err != nil {
			t.Fatal(err)
		}
		if got := w.post(task.CallbackURL, body); got != http.StatusOK {
			t.Fatalf("%s: %d", body, got)
		}
		ev := w.await(id)
		if ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll || len(ev.Result.Videos) != 1 || ev.Units == "" {
			t.Errorf("%s: %+v", body, ev)
		}
		asked := w.sim.Calls().Queries
		if got := w.post(task.CallbackURL, body); got != http.StatusOK || asked != i+1 {
			t.Errorf("%s: again %d, %d queries", body, got, asked)
		}
	}
	w.counted(map[string]float64{
		`kling_callbacks_total{outcome="polled"}`:         float64(len(thinSuccesses)),
		`kling_callbacks_total{outcome="unintelligible"}`: float64(len(notUnderstood)),
		`kling_callbacks_total{outcome="repeated"}`:       float64(len(bodies)),
		`kling_callbacks_total{outcome="stored"}`:         0,
	})
	w.settledDown()
	if asked := w.sim.Calls().Queries; asked != len(bodies) {
		t.Errorf("%d queries for %d tasks: a request that has ended was asked about", asked, len(bodies))
	}
}

// TestThinSuccessOfARunningTask publishes nothing while Kling says that the task runs.
func TestThinSuccessOfARunningTask(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	task := w.task("text2video", "early")
	for i, body := range []string{`{"task_status":"succeed"}`, `{}`} {
		if got := w.post(task.CallbackURL, body); got != http.StatusOK {
			t.Fatalf("got %d", got)
		}
		w.eventually("Kling was asked", func() bool { return w.sim.Calls().Queries == i+1 })
		w.eventually("the poll is done", func() bool { return w.count("KLING_EVENTS", "kling-state.due.>") == 0 })
	}
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 0 {
		t.Fatalf("%d completions of a task that runs", n)
	}
	if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	if ev := w.await("early"); ev.Source != events.SourceCallback || len(ev.Result.Videos) != 1 {
		t.Errorf("got %+v", ev)
	}
}

// TestThinSuccessWithoutRecord asks by what the callback says: the request brought an external id along that nothing else
// tells.
func TestThinSuccessWithoutRecord(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), replicas: 2})
	w.request(testRequest{Kind: "text2video", ID: "lost", Body: body(map[string]any{"prompt": "a", "external_task_id": "order-1"})})
	w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.lost") == 1 })
	task := w.sim.Tasks()[0]
	if err := w.sim.Finish(task.ID); err != nil {
		t.Fatal(err)
	}
	w.forget("kling-state.*.*.*.lost")
	_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
	for _, r := range w.replicas { // the one that created the task has its record in memory
		if strings.HasPrefix(task.CallbackURL, r.callbackURL) {
			continue
		}
		if got := w.post(r.callbackURL+"/callbacks/"+path, `{"task_id":"`+task.ID+`","task_status":"succeed"}`); got != http.StatusOK {
			t.Fatalf("got %d", got)
		}
	}
	if ev := w.await("lost"); ev.Status != events.StatusSucceed || len(ev.Result.Videos) != 1 || ev.ExternalTaskID != "order-1" {
		t.Errorf("got %+v", ev)
	}
}

// TestThinSuccessAfterTheDeadline is late, with what Kling has.
func TestThinSuccessAfterTheDeadline(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	w.request(testRequest{Kind: "text2video", ID: "late", Timeout: 500 * time.Millisecond, Body: body(map[string]any{"prompt": "a"})})
	if ev := w.await("late"); ev.Status != events.StatusExpired {
		t.Fatalf("got %+v", ev)
	}
	task := w.sim.Tasks()[0]
	if err := w.sim.Finish(task.ID); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if got := w.post(task.CallbackURL, `{"task_status":"succeed"}`); got != http.StatusOK {
			t.Errorf("got %d", got)
		}
		w.eventually("the late result is published", func() bool { return w.count("KLING_EVENTS", "kling.late.*.succeed.late") == 1 })
	}
}

// TestThinSuccessOfAnAdoptedTask asks Kling although the callback is signed.
func TestThinSuccessOfAnAdoptedTask(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Adopt: true, WebhookSecrets: []string{webhookSecret}}})
	signer, err := kling.NewWebhook([]string{webhookSecret})
	if err != nil {
		t.Fatal(err)
	}
	k, _ := kling.DefaultKinds().Lookup("text2video")
	task, err := w.klingClient(kling.Credentials{APIKey: apiKey}, nil).Create(w.ctx, k, "", body(map[string]any{
		"prompt": "theirs", "external_task_id": "theirs",
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.sim.Finish(task.ID); err != nil {
		t.Fatal(err)
	}
	body := `{"task_id":"` + task.ID + `","task_status":"succeed","task_result":{}}`
	now := time.Now()
	header := http.Header{
		"Webhook-Id": {"msg-1"}, "Webhook-Timestamp": {fmt.Sprint(now.Unix())},
		"Webhook-Signature": {signer.Sign("msg-1", now, []byte(body))},
	}
	if got := w.do(http.MethodPost, w.replicas[0].callbackURL+"/callbacks/text2video", body, header).status; got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	if ev := w.await("theirs"); ev.Source != events.SourcePoll || len(ev.Result.Videos) != 1 {
		t.Errorf("got %+v", ev)
	}
}

// scriptedKling takes every task and says of each what the test wants.
type scriptedKling struct {
	mu       sync.Mutex
	says     string // of a task that is asked about; ID stands for its id
	callback string // URL of the last task
	tasks    int
}

// ServeHTTP implements [http.Handler].
func (k *scriptedKling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	data, _ := io.ReadAll(r.Body) // a body that is cut has no URL
	if r.Method == http.MethodPost {
		k.tasks++
		_, url, _ := bytes.Cut(data, []byte(`"callback_url":"`))
		url, _, _ = bytes.Cut(url, []byte(`"`))
		k.callback = string(url)
	}
	task := fmt.Sprintf(`{"task_id":"%d","task_status":"submitted","task_info":[],"created_at":[]}`, k.tasks)
	if r.Method == http.MethodGet {
		task = strings.ReplaceAll(k.says, "ID", fmt.Sprint(k.tasks))
	}
	_, _ = io.WriteString(w, `{"code":0,"message":"SUCCEED","request_id":"r","data":`+task+`}`)
}

func (k *scriptedKling) set(says string) (callback string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.says = says
	return k.callback
}

// number of lines that have the text.
func (l *logged) number(text string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// startScripted runs a world with a scripted Kling.
func startScripted(t *testing.T) (*world, *scriptedKling, *logged) {
	t.Helper()
	k, log := &scriptedKling{}, &logged{}
	api := httptest.NewServer(k)
	t.Cleanup(api.Close)
	client, err := kling.NewClient(kling.Options{BaseURL: api.URL, Credentials: kling.Credentials{APIKey: apiKey}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w := &world{t: t, ctx: t.Context(), urls: bustest.Start(t).URL()}
	w.connect()
	o := metered(t, bridge.Options{Kling: client, Logger: slog.New(slog.NewTextHandler(log, nil))})
	w.replicas = append(w.replicas, w.startBridge(setup{bridge: o}))
	return w, k, log
}

// TestKlingsOwnThinSuccessIsFinal asks once: when Kling says the same, there is no more to come.
func TestKlingsOwnThinSuccessIsFinal(t *testing.T) {
	t.Parallel()
	w, k, log := startScripted(t)
	w.submit("thin", "a")
	w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted.thin") == 1 })
	callback := k.set(`{"task_id":"ID","task_status":"succeed","task_result":{"videos":[]}}`)
	if got := w.post(callback, `{}`); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	if ev := w.await("thin"); ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll || len(ev.Result.Videos) != 0 {
		t.Errorf("got %+v", ev)
	}
	w.stored("KLING_EVENTS", "kling.completion.*.*.thin")
	if n := log.number(`msg="callback not understood"`); n != 1 {
		t.Errorf("%d warnings of a callback that is not understood, want 1", n)
	}
}

// TestOddFieldsCostThemselves has shapes of proxies that know one type for lists and maps (recorded 2026-09), in
// callbacks and answers: the result arrives, and what is missing is told once.
func TestOddFieldsCostThemselves(t *testing.T) {
	t.Parallel()
	w, k, log := startScripted(t)
	const result = `"task_result":{"videos":[{"id":"9","url":"https://h.example/a.mp4?x=1&y=a~b","duration":"5.1"}]}`
	bodies := []string{
		`{"task_id":"ID","task_status":"succeed","task_info":[],` + result + `,"created_at":1775000000123,"updated_at":1775000229530}`,
		`{"task_id":"ID","task_status":"succeed","task_info":"",` + result + `,"final_unit_deduction":false,"task_status_msg":{"code":0}}`,
		`{"task_id":"ID","task_status":"succeed","task_result":[],"outputs":[true,{"type":"video","url":"https://h.example/a.mp4?x=1&y=a~b"}]}`,
		`{"task_id":"ID","task_status":"succeed","task_result":{"images":{},"videos":[{"url":"https://h.example/a.mp4?x=1&y=a~b","duration":[]}]}}`,
	}
	odd := []int{1, 3, 2, 2}
	fields := 0
	for i, body := range bodies {
		for _, source := range []events.Source{events.SourceCallback, events.SourcePoll} {
			id := fmt.Sprintf("odd-%d-%s", i, source)
			w.submit(id, "a")
			w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted."+id) == 1 })
			callback := k.set(body)
			if got := w.post(callback, `{"task_status":"processing","task_info":[]}`); got != http.StatusOK { // told at the end
				t.Fatalf("processing: %d", got)
			}
			says := strings.ReplaceAll(body, "ID", fmt.Sprint(2*i+1))
			if source == events.SourcePoll {
				says = `{"task_status":"succeed","task_result":[]}`
			}
			if got := w.post(callback, says); got != http.StatusOK {
				t.Fatalf("%s: %d", says, got)
			}
			ev := w.await(id)
			if ev.Status != events.StatusSucceed || ev.Source != source || ev.TaskID == "" || len(ev.Result.Videos) != 1 ||
				ev.Result.Videos[0].URL != "https://h.example/a.mp4?x=1&y=a~b" {
				t.Errorf("%s by %s: %+v", body, source, ev)
			}
			w.stored("KLING_EVENTS", "kling.completion.*.*."+id)
			fields += odd[i]
		}
	}
	w.counted(map[string]float64{`kling_odd_fields_total{kind="text2video"}`: float64(fields)})
	if n := log.number(`msg="odd fields of a task count as absent"`); n != 2*len(bodies) {
		t.Errorf("%d warnings for %d tasks", n, 2*len(bodies))
	}
}

// TestOutputsOfEveryType completes what Kling's solutions make, whose outputs have types of their own.
func TestOutputsOfEveryType(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	task := w.task("text2video", "subtitles")
	if got := w.post(task.CallbackURL, `{"id":"`+task.ID+`","status":"succeed","outputs":[`+
		`{"type":"subbed_video","url":"https://h.example/a.mp4","duration":"61.2"},{"type":"srt","url":"https://h.example/a.srt?x=1&y"},`+
		`{"type":"model_images","url":["https://h.example/1.png","https://h.example/2.png"]},{"type":"element","id":"1"}]}`); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	ev := w.await("subtitles")
	if len(ev.Result.Videos) != 1 || ev.Result.Videos[0].DurationSeconds != "61.2" || len(ev.Result.Images) != 2 ||
		!slices.Equal(ev.Result.Files, []events.File{{Type: "srt", URL: "https://h.example/a.srt?x=1&y"}}) {
		t.Errorf("got %+v", ev.Result)
	}
	w.stored("KLING_EVENTS", "kling.completion.*.*.subtitles")
}
