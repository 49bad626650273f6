package bridge_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// ask sends a question as any NATS client would and returns the error code, or "" and the answer.
func (w *world) ask(e events.Endpoint, question string) (code, answer string) {
	w.t.Helper()
	msg, err := w.nc.Request(subjects.Default().API(e), []byte(question), patience)
	if err != nil {
		w.t.Fatalf("%s: %v", e, err)
	}
	if code := msg.Header.Get(micro.ErrorCodeHeader); code != "" {
		return code, msg.Header.Get(micro.ErrorHeader)
	}
	eventstest.CheckAnswer(w.t, e, msg.Data)
	return "", string(msg.Data)
}

// wantRefusal fails the test unless an error is the bridge's, with this code.
func wantRefusal(t *testing.T, err error, code int) {
	t.Helper()
	api, ok := errors.AsType[*events.APIError](err)
	if !ok || api.Code != code {
		t.Errorf("got %v, want an error %d", err, code)
	}
}

// full is a bridge whose one slot is taken by a task that does not end.
func full(t *testing.T) *world {
	t.Helper()
	w := start(t, setup{
		sim:    klingtest.Options{SubmittedFor: 10 * time.Millisecond, Duration: time.Hour},
		bridge: bridge.Options{Concurrency: map[kling.Pool]int{kling.PoolVideo: 1}, Version: "v1.2.3"},
	})
	w.submit("long", "a")
	w.untilStatus("long", events.StatusProcessing)
	return w
}

func (w *world) untilStatus(id string, want events.Status) events.Task {
	w.t.Helper()
	var task events.Task
	w.eventually(fmt.Sprintf("%s is %s", id, want), func() bool {
		var err error
		task, err = w.client.Task(w.ctx, id)
		return err == nil && task.Status == want
	})
	return task
}

func TestServiceIsAMicroService(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{Version: "v1.2.3"}})
	var msg *nats.Msg
	w.eventually("it answers", func() (ok bool) {
		var err error
		msg, err = w.nc.Request("$SRV.INFO.klingbridge", nil, patience)
		return err == nil
	})
	var info micro.Info
	if err := json.Unmarshal(msg.Data, &info); err != nil {
		t.Fatal(err)
	}
	subjects := map[string]bool{}
	for _, e := range info.Endpoints {
		subjects[e.Subject] = true
		for _, key := range []string{"request_schema", "response_schema"} {
			if name, ok := strings.CutPrefix(e.Metadata[key], events.SchemaURL); ok {
				eventstest.Schema(t, name) // which fails where there is none
			} else if strings.HasPrefix(e.Subject, "kling.api.") {
				t.Errorf("%s: %s is %q", e.Subject, key, e.Metadata[key])
			}
		}
	}
	want := map[string]bool{
		"kling.api.task.get": true, "kling.api.task.list": true, "kling.api.task.again": true, "kling.api.task.cancel": true,
		"kling.api.dead.list": true, "kling.api.dead.replay": true, "kling.api.status": true,
	}
	for _, name := range events.Calls() {
		want["kling.call."+name] = true
	}
	if diff := cmp.Diff(want, subjects); diff != "" || info.Name != "klingbridge" || info.Version != "1.2.3" {
		t.Errorf("%s %s (-want +got):\n%s", info.Name, info.Version, diff)
	}
}

func TestRefusedQuestions(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	long := strings.Repeat("x", 129)
	for _, c := range []struct {
		endpoint events.Endpoint
		question string
		code     string
	}{
		{events.EndpointTaskGet, "", "400"},
		{events.EndpointTaskGet, long, "400"},
		{events.EndpointTaskGet, "\xff", "400"},
		{events.EndpointTaskGet, "nobody", "404"},
		{events.EndpointTaskCancel, "", "400"},
		{events.EndpointTaskCancel, "nobody", "404"},
		{events.EndpointDeadReplay, long, "400"},
		{events.EndpointDeadReplay, "nobody", "404"},
		{events.EndpointTaskList, `{"status":"done"}`, "400"},
		{events.EndpointTaskList, `{"kind":"text3video"}`, "400"},
		{events.EndpointTaskList, `{"limit":-1}`, "400"},
		{events.EndpointTaskList, `{"limit":1001}`, "400"},
		{events.EndpointTaskList, `{"limit":"1"}`, "400"},
		{events.EndpointTaskList, `{"cursor":"?"}`, "400"},
		{events.EndpointTaskList, `{"cursor":"e30x"}`, "400"},
		{events.EndpointTaskList, `{"state":"failed"}`, "400"},
		{events.EndpointTaskList, `{} {}`, "400"},
		{events.EndpointTaskList, `[]`, "400"},
		{events.EndpointTaskList, `{`, "400"},
		{events.EndpointDeadList, `{"kind":"text2video"}`, "400"},
		{events.EndpointDeadList, `{"limit":5000}`, "400"},
	} {
		if code, message := w.ask(c.endpoint, c.question); code != c.code || message == "" || strings.ContainsAny(message, "\r\n") {
			t.Errorf("%s %.40q: %s %q, want %s", c.endpoint, c.question, code, message, c.code)
		}
	}
	for _, e := range []events.Endpoint{events.EndpointTaskList, events.EndpointDeadList} {
		for _, question := range []string{"", " ", "{}", "null"} {
			key := strings.TrimSuffix(string(e), ".list")
			want := map[string]string{"task": `{"tasks":[],"cursor":""}`, "dead": `{"dead":[],"cursor":""}`}[key]
			if code, answer := w.ask(e, question); code != "" || answer != want {
				t.Errorf("%s %q: %s %s", e, question, code, answer)
			}
		}
	}
}

// TestAnswerThatFails asks for what JetStream has lost.
func TestAnswerThatFails(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	if err := w.js.DeleteStream(w.ctx, "KLING_DEAD"); err != nil {
		t.Fatal(err)
	}
	for e, question := range map[events.Endpoint]string{
		events.EndpointDeadList: "", events.EndpointDeadReplay: "a", events.EndpointStatus: "",
	} {
		if code, message := w.ask(e, question); code != "500" || message == "" {
			t.Errorf("%s: %s %q, want 500", e, code, message)
		}
	}
}

// TestGet follows requests from the stream to their end.
func TestGet(t *testing.T) {
	t.Parallel()
	w := full(t)
	msg := nats.NewMsg("kling.request.text2video.low")
	msg.Header.Set("Kling-Meta-Tenant", "acme")
	msg.Data = []byte(`{"prompt":"a","external_task_id":"mine"}`)
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		t.Fatal(err)
	}
	byMsgID := w.message("", "b")
	byMsgID.Header.Del(events.HeaderRequestID)
	byMsgID.Header.Set("Nats-Msg-Id", "Auftrag Nr. 7")
	if _, err := w.js.PublishMsg(w.ctx, byMsgID); err != nil {
		t.Fatal(err)
	}
	ack, err := w.js.Publish(w.ctx, "kling.request.text2video", []byte(`{"prompt":"c"}`))
	if err != nil {
		t.Fatal(err)
	}

	task := w.untilStatus("mine", events.StatusWaiting)
	if task.RequestID != "mine" || task.Kind != "text2video" || task.Pool != "video" || task.ExternalTaskID != "mine" ||
		task.Metadata["Tenant"] != "acme" || task.Deadline == nil || task.RequestedAt.IsZero() || task.SubmittedAt != nil {
		t.Errorf("waiting: %+v", task)
	}
	w.untilStatus("Auftrag Nr. 7", events.StatusWaiting)
	if list, err := w.client.Tasks(w.ctx, events.TaskQuery{Statuses: events.Statuses{events.StatusWaiting}}); err != nil || len(list.Tasks) != 3 {
		t.Errorf("%+v, %v", list, err)
	} else if id := list.Tasks[1].RequestID; !strings.HasPrefix(id, fmt.Sprintf("seq-%d-", ack.Sequence)) {
		t.Errorf("%s is not that of the message without an id", id)
	} else if got := w.untilStatus(id, events.StatusWaiting); got.RequestID != id {
		t.Errorf("got %+v", got)
	}

	long := w.untilStatus("long", events.StatusProcessing)
	if long.TaskID == "" || long.ExternalTaskID == "" || long.SubmittedAt == nil || long.NextPollAt == nil || long.Deadline == nil ||
		long.CompletedAt != nil || long.Error != nil {
		t.Errorf("in flight: %+v", long)
	}
	if _, answer := w.ask(events.EndpointTaskGet, "long"); !strings.HasPrefix(answer, `{"task":{"request_id":"long",`) ||
		!strings.Contains(answer, `"completed_at":null`) || !strings.Contains(answer, `"error":null`) {
		t.Errorf("answer %s", answer)
	}

	if _, err := w.js.PublishMsg(w.ctx, w.message("bad", "[policy]")); err != nil {
		t.Fatal(err)
	}
	if _, err := w.js.Publish(w.ctx, "kling.request.image-generations", []byte(`{"external_task_id":"picture","prompt":"[policy]"}`)); err != nil {
		t.Fatal(err)
	}
	picture := w.untilStatus("picture", events.StatusRejected)
	if picture.Pool != "image" || picture.Error == nil || picture.Error.Class != events.ErrorPolicy || picture.CompletedAt == nil || picture.Deadline != nil {
		t.Errorf("rejected: %+v", picture)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	w := full(t)
	request := testRequest{
		Kind: "text2video", ID: "waits", Body: body(map[string]any{"prompt": "a"}), Metadata: map[string]string{"Tenant": "acme"},
	}
	w.request(request)
	for i := range 20 { // more than a replica holds in hand
		w.submit(fmt.Sprintf("more-%d", i), "a")
	}
	waiting := w.untilStatus("waits", events.StatusWaiting)
	if code, answer := w.ask(events.EndpointTaskCancel, "waits"); code != "" || answer != `{"cancelled":true}` {
		t.Fatalf("%s %s", code, answer)
	}
	ev := w.await("waits")
	if ev.Status != events.StatusCancelled || ev.Source != events.SourceBridge || ev.Error == nil || ev.Error.Class != events.ErrorCancelled ||
		ev.Metadata["Tenant"] != "acme" || !ev.RequestedAt.Equal(waiting.RequestedAt.Time) || ev.TaskID != "" {
		t.Errorf("got %+v", ev)
	}
	wantRefusal(t, w.client.Cancel(w.ctx, "waits"), 409)
	wantRefusal(t, w.client.Cancel(w.ctx, "long"), 409)
	wantRefusal(t, w.client.Cancel(w.ctx, "nobody"), 404)
	if task, err := w.client.Task(w.ctx, "waits"); err != nil || task.Status != events.StatusCancelled {
		t.Errorf("got %+v, %v", task, err)
	}
	for i := range 20 {
		if err := w.client.Cancel(w.ctx, fmt.Sprintf("more-%d", i)); err != nil {
			t.Error(err)
		}
	}
	w.request(request) // a known id
	w.eventually("no request is left", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 0 })
	if n := w.sim.Calls().Creates; n != 1 {
		t.Errorf("%d create calls, want that of the long task", n)
	}
	if n := w.count("KLING_DEAD", "kling.dead.>"); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	w.eventually("nobody waits", func() bool {
		status, err := w.client.Status(w.ctx)
		return err == nil && status.QueueDepth == 0 && status.Pools[0].Waiting["normal"] == 0
	})
}

// TestCancelWhileCreating asks for the end of a request whose create call has no answer yet.
func TestCancelWhileCreating(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	w := start(t, setup{sim: klingtest.Options{Faults: klingtest.Faults{Create: func(klingtest.CreateView) klingtest.Fault {
		<-hold
		return nil
	}}}})
	w.submit("held", "a")
	task := w.untilStatus("held", events.StatusCreating)
	if task.ExternalTaskID == "" || task.TaskID != "" || !strings.HasPrefix(task.WaitsFor, "an answer to its create call of ") ||
		task.Wait.For != events.WaitForAnswer {
		t.Errorf("got %+v", task)
	}
	wantRefusal(t, w.client.Cancel(w.ctx, "held"), 409)
	for _, status := range []events.Status{"", events.StatusCreating} {
		list, err := w.client.Tasks(w.ctx, events.TaskQuery{Statuses: events.Statuses{status}})
		if err != nil || len(list.Tasks) != 1 || list.Tasks[0].Status != events.StatusCreating || list.Tasks[0].WaitsFor != "" ||
			list.Tasks[0].Wait != nil {
			t.Errorf("status %q: %+v, %v; want the request once", status, list, err)
		}
	}
	close(hold)
	if ev := w.await("held"); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
}

// TestCancelRacesCreate cancels requests while they are taken off the stream: each is either cancelled, and costs
// nothing, or becomes a task.
func TestCancelRacesCreate(t *testing.T) {
	t.Parallel()
	const n, racers = 150, 3
	hold := make(chan struct{})
	w := start(t, setup{replicas: 2, sim: klingtest.Options{
		Slots: map[kling.Pool]int{kling.PoolVideo: 5},
		Faults: klingtest.Faults{Create: func(klingtest.CreateView) klingtest.Fault {
			<-hold
			return nil
		}},
	}})
	ids := make(chan string, n)
	for i := range n {
		ids <- w.submit(fmt.Sprintf("race-%d", i), "a")
	}
	close(ids)
	close(hold)
	var mu sync.Mutex
	cancelled := map[string]bool{}
	var racing sync.WaitGroup
	for range 4 {
		racing.Go(func() {
			for id := range ids {
				if w.cancelAtOnce(id, racers) {
					mu.Lock()
					cancelled[id] = true
					mu.Unlock()
				}
			}
		})
	}
	racing.Wait()
	for i := range n {
		want, id := events.StatusSucceed, fmt.Sprintf("race-%d", i)
		if cancelled[id] {
			want = events.StatusCancelled
		}
		if ev := w.await(id); ev.Status != want {
			t.Errorf("%s: %s, want %s", id, ev.Status, want)
		}
	}
	w.settledDown()
	if tasks := len(w.sim.Tasks()); tasks != n-len(cancelled) {
		t.Errorf("%d tasks at Kling for %d requests, %d of them cancelled", tasks, n, len(cancelled))
	}
	if got := w.count("KLING_EVENTS", "kling.completion.>"); got != n {
		t.Errorf("%d completions, want %d", got, n)
	}
	t.Logf("%d of %d were cancelled", len(cancelled), n)
	w.noViolations()
}

// cancelAtOnce cancels a request several times at once and reports whether it was told of success.
func (w *world) cancelAtOnce(id string, racers int) bool {
	var yes atomic.Bool
	var racing sync.WaitGroup
	for range racers {
		racing.Go(func() {
			err := w.client.Cancel(w.ctx, id)
			for errors.Is(err, events.ErrUnavailable) { // JetStream is too slow
				err = w.client.Cancel(w.ctx, id)
			}
			if err == nil {
				yes.Store(true)
			} else {
				wantRefusal(w.t, err, 409)
			}
		})
	}
	racing.Wait()
	return yes.Load()
}

func TestStatus(t *testing.T) {
	t.Parallel()
	w := full(t)
	for i, priority := range []events.Priority{events.PriorityHigh, events.PriorityNormal, events.PriorityNormal, events.PriorityLow} {
		w.request(testRequest{Kind: "text2video", ID: fmt.Sprint(i), Priority: priority, Body: body(map[string]any{"prompt": "a"})})
	}
	w.request(testRequest{Kind: "image-generations", ID: "bad", Body: body(map[string]any{"prompt": "[policy]"})})
	w.await("bad")
	w.eventually("the dead letter is stored", func() bool { return w.count("KLING_DEAD", "kling.dead.>") == 1 })
	w.eventually("the rejected request is acked", func() bool { return w.count("KLING_REQUESTS", "kling.request.>") == 4 })
	status, err := w.client.Status(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []events.Endpoint{events.EndpointTaskList, events.EndpointDeadList, events.EndpointStatus} {
		w.ask(e, "") // which holds the answer to its schema
	}
	if status.Kling == nil || status.Kling.Calls == 0 || status.Kling.Failure != "" {
		t.Errorf("Kling is told of as %+v", status.Kling)
	}
	one := 1
	want := events.BridgeStatus{
		Kling: status.Kling, Version: "v1.2.3", Ready: true, Reasons: []string{}, QueueDepth: 4, InFlight: 1, Dead: 1,
		Pools: []events.PoolStatus{
			{Pool: "video", InFlight: 1, Cap: &one, Waiting: map[string]int{"high": 1, "normal": 2, "low": 1}, Paused: []string{}},
			{Pool: "image", Waiting: map[string]int{"high": 0, "normal": 0, "low": 0}, Paused: []string{}},
			{Pool: "try-on", Waiting: map[string]int{"high": 0, "normal": 0, "low": 0}, Paused: []string{}},
		},
	}
	if diff := cmp.Diff(want, status); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatusOfAPausedPool(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{ProbeInterval: time.Hour}, sim: klingtest.Options{APIKeys: []string{"another"}}})
	w.submit("refused", "a")
	w.eventually("the pool pauses", func() bool {
		status, err := w.client.Status(w.ctx)
		return err == nil && len(status.Pools[0].Paused) > 0 && !status.Ready && len(status.Reasons) > 0
	})
}
