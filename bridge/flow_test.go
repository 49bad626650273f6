package bridge_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// coreBodies has a request that Kling takes for each of the five core kinds and three of the newer API.
var coreBodies = map[string]map[string]any{
	"text2video":   {"prompt": "a lighthouse", "model_name": "kling-v3", "duration": "5", "mode": "std"},
	"image2video":  {"image": "https://example.com/a.png", "prompt": "waves"},
	"video-extend": {"video_id": "871000000000000777", "prompt": "on and on"},
	"lip-sync": {"input": map[string]any{
		"mode": "text2video", "video_id": "871000000000000777", "text": "hello", "voice_id": "v1", "voice_language": "en",
	}},
	"effects": {"effect_scene": "hug", "input": map[string]any{
		"images": []string{"https://example.com/a.png", "https://example.com/b.png"},
	}},
	"text-to-video": {"model": "kling-3.0", "prompt": "a lighthouse", "settings": map[string]any{"duration": 5}},
	"image-to-video": {"model": "kling-3.0", "contents": []any{
		map[string]any{"type": "first_frame", "url": "https://example.com/a.png"},
		map[string]any{"type": "prompt", "text": "waves"},
	}},
	"omni-video": {"model": "kling-3.0-omni", "contents": []any{map[string]any{"type": "prompt", "text": "waves"}}},
}

func TestEveryRequestEndsInOneCompletion(t *testing.T) {
	t.Parallel()
	// Long enough for the task to be announced before it ends.
	w := start(t, setup{sim: klingtest.Options{SubmittedFor: 20 * time.Millisecond, Duration: 2 * time.Second}})
	for kind, fields := range coreBodies {
		w.request(testRequest{
			Kind: kind, ID: "order-" + kind, Body: body(fields), Metadata: map[string]string{"Tenant": "acme"},
		})
	}
	for kind := range coreBodies {
		id := "order-" + kind
		ev := w.await(id)
		if ev.Status != events.StatusSucceed || ev.Kind != kind || ev.RequestID != id {
			t.Errorf("%s: completion %+v", kind, ev)
		}
		if ev.Result == nil || len(ev.Result.Videos) != 1 || !strings.ContainsAny(ev.Result.Videos[0].URL, "&~") {
			t.Errorf("%s: result %+v", kind, ev.Result)
		}
		if ev.Metadata["Tenant"] != "acme" || ev.Units == "" || ev.SubmittedAt == nil {
			t.Errorf("%s: metadata %v, units %q, submitted %v", kind, ev.Metadata, ev.Units, ev.SubmittedAt)
		}
		got := w.events(id)
		if !strings.HasPrefix(got[0], "progress.submitted ") || !slices.Contains(got, "completion.succeed callback") {
			t.Errorf("%s: events %v", kind, got)
		}
	}
	w.settledDown()
	w.noViolations()
	if n := len(w.sim.Tasks()); n != len(coreBodies) {
		t.Errorf("%d tasks for %d requests", n, len(coreBodies))
	}
}

func TestKeyPair(t *testing.T) {
	t.Parallel()
	w := &world{t: t, ctx: t.Context()}
	w.startSim(klingtest.Options{AccessKey: "ak", SecretKey: "sk-0123456789abcdef0123456789abcdef"})
	client := w.klingClient(kling.Credentials{AccessKey: "ak", SecretKey: "sk-0123456789abcdef0123456789abcdef"}, nil)
	w2 := start(t, setup{bridge: bridge.Options{Kling: client}, sim: klingtest.Options{APIKeys: []string{"unused"}}})
	if ev := w2.await(w2.submit("pair", "a")); ev.Status != events.StatusSucceed {
		t.Errorf("completion %+v", ev)
	}
	w.noViolations()
}

func TestResultIsWhatKlingSent(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	id := w.submit("exact", "a")
	ev := w.await(id)
	var task struct {
		TaskID     string `json:"task_id"`
		TaskResult struct {
			Videos []struct{ ID, URL, Duration string }
		} `json:"task_result"`
	}
	if err := json.Unmarshal(ev.Kling, &task); err != nil {
		t.Fatal(err)
	}
	want := task.TaskResult.Videos[0]
	got := ev.Result.Videos[0]
	if got.URL != want.URL || got.ID != want.ID || got.DurationSeconds.String() != want.Duration || ev.TaskID != task.TaskID {
		t.Errorf("got %+v of task %s, want %+v of task %s", got, ev.TaskID, want, task.TaskID)
	}
	left := time.Until(ev.Result.ExpiresAt.Time)
	if left < 29*24*time.Hour || left > 30*24*time.Hour {
		t.Errorf("expires in %s, want 30 days", left)
	}
}

func TestFailedTask(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	ev := w.await(w.submit("f1", "fail: Image pixel is invalid"))
	want := events.Error{Class: events.ErrorKling, Message: "Image pixel is invalid", Retryable: true}
	if ev.Status != events.StatusFailed || ev.Error == nil || *ev.Error != want || ev.Message != want.Message {
		t.Errorf("got %+v, %+v", ev, ev.Error)
	}
	ev = w.await(w.submit("f2", "fail: Failure to pass the risk control system"))
	if ev.Error == nil || ev.Error.Class != events.ErrorPolicy || ev.Error.Retryable {
		t.Errorf("got %+v", ev.Error)
	}
	if dead := w.stored("KLING_DEAD", "kling.dead.>"); len(dead) > 0 {
		t.Errorf("a failed task left %d dead letters; its completion is the record", len(dead))
	}
}

func TestRejectedRequestsAreKept(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	w.request(testRequest{
		Kind: "text2video", ID: "policy", Body: body(map[string]any{"prompt": "[policy]"}),
		Metadata: map[string]string{"Tenant": "acme"},
	})
	w.request(testRequest{Kind: "text2video", ID: "mode", Body: body(map[string]any{"prompt": "a", "mode": "standard"})})
	w.request(testRequest{Kind: "text2video", ID: "url", Body: body(map[string]any{"callback_url": "https://evil"})})
	raw := nats.NewMsg("kling.request.text2video")
	raw.Header.Set(events.HeaderRequestID, "rubbish")
	raw.Data = []byte(`{"prompt"`)
	if _, err := w.js.PublishMsg(w.ctx, raw); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]events.Error{
		"policy":  {Class: events.ErrorPolicy, Code: 1301, HTTPStatus: 400},
		"mode":    {Class: events.ErrorInvalid, Code: 1201, HTTPStatus: 400},
		"url":     {Class: events.ErrorInvalid},
		"rubbish": {Class: events.ErrorInvalid},
	} {
		ev := w.await(id)
		if ev.Status != events.StatusRejected || ev.Error == nil || ev.Source != events.SourceBridge {
			t.Fatalf("%s: %+v", id, ev)
		}
		got := *ev.Error
		if got.Message == "" {
			t.Errorf("%s: no reason given", id)
		}
		got.Message = ""
		if got != want {
			t.Errorf("%s: error %+v, want %+v", id, got, want)
		}
	}
	w.settledDown()
	dead := w.stored("KLING_DEAD", "kling.dead.>")
	if len(dead) != 4 {
		t.Fatalf("%d dead letters, want 4", len(dead))
	}
	for _, m := range dead {
		switch m.Subject {
		case "kling.dead.text2video.rejected.policy":
			if m.Header.Get(events.HeaderErrorCode) != "1301" || m.Header.Get("Kling-Meta-Tenant") != "acme" ||
				string(m.Data) != `{"prompt":"[policy]"}` {
				t.Errorf("dead letter %v %s", m.Header, m.Data)
			}
		case "kling.dead.text2video.rejected.rubbish":
			if string(m.Data) != `{"prompt"` {
				t.Errorf("the payload was changed: %s", m.Data)
			}
		}
	}
}

func TestKnownRequestCreatesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{SubmittedFor: 50 * time.Millisecond, Duration: 300 * time.Millisecond}})
	again := func() {
		msg := nats.NewMsg("kling.request.text2video.high") // another subject and no message id: nothing for the broker to go by
		msg.Header.Set(events.HeaderRequestID, "twice")
		msg.Data = []byte(`{"prompt":"a"}`)
		if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
			t.Fatal(err)
		}
	}
	again()
	again()
	if err := w.sim.WaitTasks(w.ctx, 1); err != nil {
		t.Fatal(err)
	}
	again()
	w.await("twice")
	again()
	w.settledDown()
	if n := len(w.sim.Tasks()); n != 1 {
		t.Errorf("%d tasks for one request id, want 1", n)
	}
	if got := w.stored("KLING_EVENTS", "kling.completion.>"); len(got) != 1 {
		t.Errorf("%d completions, want 1", len(got))
	}
}

func TestUnknownKindFailsAtItsPublisher(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	for _, subject := range []string{"kling.request.nonsense", "kling.request.text2video.urgent"} {
		if _, err := w.js.Publish(w.ctx, subject, []byte(`{}`)); err == nil {
			t.Errorf("a stream took %s", subject)
		}
	}
}

func TestLostCallbackEndsByPoll(t *testing.T) {
	t.Parallel()
	lose := func(v klingtest.CallbackView) klingtest.CallbackFault {
		return klingtest.CallbackFault{Lose: strings.Contains(v.Prompt, "lost")}
	}
	w := start(t, setup{
		sim:    klingtest.Options{Faults: klingtest.Faults{Callback: lose}},
		bridge: bridge.Options{PollAfter: 200 * time.Millisecond, PollMinInterval: 100 * time.Millisecond},
	})
	byPoll, byCallback := w.submit("p", "lost"), w.submit("c", "heard")
	if ev := w.await(byPoll); ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll {
		t.Errorf("got %s by %s", ev.Status, ev.Source)
	}
	if ev := w.await(byCallback); ev.Source != events.SourceCallback {
		t.Errorf("got %s by %s", ev.Status, ev.Source)
	}
	w.settledDown()
	for _, m := range w.stored("KLING_EVENTS", "kling.completion.>") {
		p, _ := subjects.Default().Parse(m.Subject)
		want := fmt.Sprintf("kling.completion.text2video.succeed.%s", p.Token)
		if m.Subject != want || m.Header.Get("Nats-Msg-Id") != p.Token+".completion" {
			t.Errorf("subject %s, id %s", m.Subject, m.Header.Get("Nats-Msg-Id"))
		}
	}
}

func TestRepeatedLateAndReorderedCallbacks(t *testing.T) {
	t.Parallel()
	disorder := func(v klingtest.CallbackView) klingtest.CallbackFault {
		return klingtest.CallbackFault{Repeat: 3, Reorder: v.Status == klingtest.StatusProcessing}
	}
	w := start(t, setup{sim: klingtest.Options{
		SubmittedFor: 10 * time.Millisecond, Duration: time.Second, // far enough apart for a busy machine
		Faults: klingtest.Faults{Callback: disorder},
	}})
	id := w.submit("r", "a")
	w.await(id)
	w.eventually("every callback is answered 2xx", func() bool {
		task := w.sim.Tasks()[0]
		return task.CallbacksSent == 8 && task.CallbacksAccepted == 8
	})
	got := w.events(id)
	if want := []string{"progress.submitted bridge", "completion.succeed callback"}; !slices.Equal(got, want) {
		t.Errorf("events %v, want %v", got, want)
	}
}

func TestCallbackBeforeTheCreateReply(t *testing.T) {
	t.Parallel()
	early := func(v klingtest.CallbackView) klingtest.CallbackFault {
		return klingtest.CallbackFault{Early: v.Status == klingtest.StatusSubmitted}
	}
	w := start(t, setup{sim: klingtest.Options{Faults: klingtest.Faults{Callback: early}}})
	ev := w.await(w.submit("early", "a"))
	if ev.Status != events.StatusSucceed || ev.Source != events.SourceCallback || ev.TaskID == "" || ev.SubmittedAt == nil {
		t.Errorf("got %+v", ev)
	}
	w.settledDown()
}

func TestPollOnly(t *testing.T) {
	t.Parallel()
	w := start(t, setup{pollOnly: true, bridge: bridge.Options{PollMinInterval: 100 * time.Millisecond}})
	v1, v2 := w.submit("v1", "a"), w.request(testRequest{
		Kind: "text-to-video", ID: "v2", Body: body(coreBodies["text-to-video"]),
	})
	for _, id := range []string{v1, v2} {
		if ev := w.await(id); ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll {
			t.Errorf("%s: %s by %s", id, ev.Status, ev.Source)
		}
	}
	for _, task := range w.sim.Tasks() {
		if task.CallbackURL != "" {
			t.Errorf("task %s was given the callback URL %s", task.ID, task.CallbackURL)
		}
	}
	w.settledDown()
	w.noViolations()
}

// TestOverdueTasksArePolledInBulk has the timers of all tasks fire while no bridge runs.
func TestOverdueTasksArePolledInBulk(t *testing.T) { // by itself: it takes what the machine has
	// Pages have up to 500 tasks, other queries take 20 ids (recorded 2026-09).
	for kind, most := range map[string]int{"text2video": 8, "text-to-video": 20} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			const tasks = 200
			s := setup{
				sim: klingtest.Options{
					Callbacks: klingtest.None, Slots: map[kling.Pool]int{kling.PoolVideo: 2 * tasks},
					SubmittedFor: time.Millisecond, Duration: 10 * time.Millisecond,
				},
				bridge: bridge.Options{PollAfter: 10 * time.Second},
			}
			w := start(t, s)
			for i := range tasks {
				w.request(testRequest{Kind: kind, ID: fmt.Sprintf("o-%d", i), Body: body(coreBodies[kind])})
			}
			w.eventually("all tasks are announced", func() bool {
				return w.count("KLING_EVENTS", "kling.progress.*.submitted.*") == tasks
			})
			w.replicas[0].stop()
			completed := func() uint64 { return w.count("KLING_EVENTS", "kling.completion.>") }
			early := completed() // on a slow machine
			if early > tasks/2 {
				t.Fatalf("%d of %d tasks were polled before all were created", early, tasks)
			}
			w.eventually("all timers have fired", func() bool {
				return w.count("KLING_EVENTS", "kling-state.due.>") == tasks-early
			})
			before := w.sim.Calls()
			w.startBridge(s)
			w.eventually("all are completed", func() bool { return completed() == tasks })
			calls := w.sim.Calls()
			if n := calls.Queries + calls.ListPages - before.Queries - before.ListPages; n > most {
				t.Errorf("%d calls for %d tasks of one kind, want at most %d", n, tasks, most)
			}
		})
	}
}

func TestExpiryAndLateResult(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Duration: time.Hour}})
	id := w.request(testRequest{
		Kind: "text2video", ID: "late", Timeout: 500 * time.Millisecond, Body: body(map[string]any{"prompt": "a"}),
		Metadata: map[string]string{"Tenant": "acme"},
	})
	ev := w.await(id)
	if ev.Status != events.StatusExpired || ev.Error == nil || ev.Error.Class != events.ErrorExpired || ev.TaskID == "" {
		t.Errorf("got %+v", ev)
	}
	w.settledDown()
	if err := w.sim.Finish(ev.TaskID); err != nil {
		t.Fatal(err)
	}
	w.eventually("the late result is published", func() bool { return w.count("KLING_EVENTS", "kling.late.>") == 1 })
	late := w.stored("KLING_EVENTS", "kling.late.>")[0]
	var got events.Event
	if err := json.Unmarshal(late.Data, &got); err != nil {
		t.Fatal(err)
	}
	if late.Subject != "kling.late.text2video.succeed.late" || got.Result == nil || got.Metadata["Tenant"] != "acme" {
		t.Errorf("%s: %+v", late.Subject, got)
	}
	if n := len(w.stored("KLING_EVENTS", "kling.completion.>")); n != 1 {
		t.Errorf("%d completions, want 1", n)
	}
}
