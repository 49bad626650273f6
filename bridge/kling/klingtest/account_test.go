package klingtest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

func TestSlots(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Slots: map[kling.Pool]int{kling.PoolVideo: 2, kling.PoolImage: 5}})
	const images = "/v1/images/generations"
	first := sim.create(textToVideo, `{"prompt":"p"}`)
	sim.create(v2Video, `{"prompt":"p"}`)
	got := sim.post(textToVideo, `{"prompt":"p"}`)
	if got.HTTPStatus != http.StatusTooManyRequests || got.Code != 1303 ||
		got.Message != "parallel task over resource pack limit" || got.Header.Get("Retry-After") != "" {
		t.Errorf("third video: %d %s %v", got.HTTPStatus, got.Body, got.Header)
	}

	sim.create(images, `{"prompt":"p","n":4}`)
	sim.refused(images, `{"prompt":"p","n":2}`, http.StatusTooManyRequests, 1303)
	sim.create(images, `{"prompt":"p"}`)
	for range 5 {
		sim.create("/v1/images/kolors-virtual-try-on", `{"human_image":"aGk="}`)
	}
	sim.refused("/v1/images/kolors-virtual-try-on", `{"human_image":"aGk="}`, http.StatusTooManyRequests, 1303)

	finish(t, sim.Server, first)
	sim.create(textToVideo, `{"prompt":"p"}`)
	if n := sim.Calls().Refused[1303]; n != 3 {
		t.Errorf("%d refusals counted, want 3", n)
	}
}

// TestSlotIsFreeBeforeTheCallback creates a task out of the callback of the one before.
func TestSlotIsFreeBeforeTheCallback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := &receiver{}
		sim := newAPI(t, klingtest.Options{
			CallbackHTTP: calls.client(), Callbacks: klingtest.TerminalOnly, Slots: map[kling.Pool]int{kling.PoolVideo: 1},
		})
		const body = `{"prompt":"p","callback_url":"` + callbackURL + `"}`
		next := make(chan answer, 1)
		calls.answer = func(received) int {
			select {
			case next <- sim.post(textToVideo, body):
			default:
			}
			return http.StatusOK
		}
		finish(t, sim.Server, sim.create(textToVideo, body))
		if got := <-next; got.Code != 0 {
			t.Errorf("create during the callback: %s", got.Body)
		}
	})
}

func TestExternalIDIsUnique(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Slots: map[kling.Pool]int{kling.PoolVideo: 1}})
	id := sim.create(textToVideo, `{"prompt":"p","external_task_id":"job-1"}`)
	sim.refused(textToVideo, `{"prompt":"p","external_task_id":"job-1"}`, http.StatusBadRequest, 1201)
	finish(t, sim.Server, id)
	sim.refused(v2Video, `{"prompt":"p","options":{"external_task_id":"job-1"}}`, http.StatusBadRequest, 1201)
	sim.create(textToVideo, `{"prompt":"p","external_task_id":""}`)
	if n := len(sim.Tasks()); n != 2 {
		t.Errorf("%d tasks, want 2", n)
	}
}

func TestRefusedIDStaysFree(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{Slots: map[kling.Pool]int{kling.PoolVideo: 1}})
	id := sim.create(textToVideo, `{"prompt":"p"}`)
	const body = `{"prompt":"p","external_task_id":"job-1"}`
	sim.refused(textToVideo, body, http.StatusTooManyRequests, 1303)
	finish(t, sim.Server, id)
	sim.create(textToVideo, body)
}

func TestTaskIDs(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	seen := map[string]bool{}
	for range 20 {
		id := sim.create(textToVideo, `{"prompt":"p"}`)
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || len(id) != 18 || n <= 1<<53 || seen[id] {
			t.Errorf("task id %q, %v", id, err)
		}
		seen[id] = true
	}
}

func TestTaskView(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	const body = ` {"prompt" : "a boat", "n":1.50,
		"options":{"external_task_id":"job-1","callback_url":"https://b.test/x"}}`
	sim.create(v2Video, body)
	v, ok := sim.Task("job-1")
	if !ok || string(v.Body) != body || v.Kind.Name != "text-to-video" || v.Model != "kling-3.0" ||
		v.Prompt != "a boat" || v.CallbackURL != "https://b.test/x" || v.Slots != 1 || v.Status != klingtest.StatusSubmitted {
		t.Errorf("task %+v", v)
	}
	if _, ok := sim.Task("job-2"); ok {
		t.Error("found a task that doesn't exist")
	}
}

func TestBusySlotTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sim := newAPI(t, klingtest.Options{Duration: 10 * time.Second})
		sim.create("/v1/images/generations", `{"prompt":"p","n":3}`)
		time.Sleep(4 * time.Second)
		if got := sim.BusySlotTime(kling.PoolImage); got != 12*time.Second {
			t.Errorf("after 4 s: %s, want 12s", got)
		}
		time.Sleep(time.Minute)
		if got := sim.BusySlotTime(kling.PoolImage); got != 30*time.Second {
			t.Errorf("after the end: %s, want 30s", got)
		}
		if got := sim.BusySlotTime(kling.PoolVideo) + sim.BusySlotTime("no-pool"); got != 0 {
			t.Errorf("idle pools: %s", got)
		}
	})
}

func TestWaitTasks(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	waited := make(chan error, 1)
	go func() { waited <- sim.WaitTasks(t.Context(), 2) }()
	sim.create(textToVideo, `{"prompt":"p"}`)
	sim.create(textToVideo, `{"prompt":"p"}`)
	if err := <-waited; err != nil {
		t.Error(err)
	}
	if err := sim.WaitTasks(t.Context(), 1); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sim.WaitTasks(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a task that never comes: %v", err)
	}
}

func TestOutages(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	for code, httpStatus := range map[int]int{
		1000: 401, 1002: 401, 1100: 429, 1101: 429, 1102: 429, 1103: 403, 1304: 429,
	} {
		sim.SetAuthOutage(code)
		sim.refused(textToVideo, `{"prompt":"p"}`, httpStatus, code)
		if got := sim.get("/tasks?task_ids=1"); got.Code != code {
			t.Errorf("query during outage %d: %s", code, got.Body)
		}
	}
	sim.SetAuthOutage(0)
	sim.SetMaintenance(true)
	sim.refused(textToVideo, `{"prompt":"p"}`, http.StatusServiceUnavailable, 5001)
	sim.SetMaintenance(false)
	sim.create(textToVideo, `{"prompt":"p"}`)
}

func TestObserve(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var events []string
		calls := &receiver{}
		sim := newAPI(t, klingtest.Options{CallbackHTTP: calls.client(), Observe: func(e klingtest.Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Time.IsZero() {
				t.Errorf("event %s without a time", e.Type)
			}
			events = append(events, fmt.Sprintf("%s %s%d", e.Type, e.Status, e.Code))
		}})
		sim.create(textToVideo, `{"prompt":"p","callback_url":"`+callbackURL+`"}`)
		sim.refused(textToVideo, `{}`, http.StatusBadRequest, 1201)
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		want := "created submitted0, refused 1201, changed processing0, callback_answered processing0, " +
			"changed succeed0, callback_answered succeed0"
		if got := strings.Join(events, ", "); got != want {
			t.Errorf("events\n%s, want\n%s", got, want)
		}
	})
}

func TestCallsAreCounted(t *testing.T) {
	t.Parallel()
	sim := newAPI(t, klingtest.Options{})
	id := sim.create(textToVideo, `{"prompt":"p"}`)
	sim.refused(textToVideo, `{}`, http.StatusBadRequest, 1201)
	sim.get(textToVideo + "/" + id)
	sim.get("/tasks?task_ids=1")
	sim.get(textToVideo)
	sim.post("/tasks", `{}`)
	sim.get("/account/costs?start_time=1&end_time=2")
	got, err := json.Marshal(sim.Calls())
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"Creates":2,"Queries":2,"ListPages":2,"AccountCosts":1,"Refused":{"1201":1},"RefusedCreates":{"1201":1}}`
	if string(got) != want {
		t.Errorf("calls %s, want %s", got, want)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	t.Parallel()
	keys := []string{"k"}
	for wrong, o := range map[string]klingtest.Options{
		"no credentials":      {},
		"go together":         {AccessKey: "a"},
		"webhook secret":      {APIKeys: keys, WebhookSecret: "secret"},
		"slots of pool":       {APIKeys: keys, Slots: map[kling.Pool]int{kling.PoolVideo: -1}},
		"query lag":           {APIKeys: keys, QueryLag: -1},
		"speed":               {APIKeys: keys, Speed: -1},
		"public URL":          {APIKeys: keys, PublicURL: "example.com"},
		"fault lose callback": {APIKeys: keys, Faults: klingtest.Faults{LoseCallback: 1.5}},
	} {
		if _, err := klingtest.New(o); err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("New: %v; want an error about %q", err, wrong)
		}
	}
}

func TestExtraKinds(t *testing.T) {
	t.Parallel()
	kinds, err := kling.DefaultKinds().With("new-thing=/v1/videos/new-thing:video,styled=/styles/{model}/run:sketch")
	if err != nil {
		t.Fatal(err)
	}
	sim := newAPI(t, klingtest.Options{Kinds: kinds})
	v1 := sim.create("/v1/videos/new-thing", `{"anything":true}`)
	v2 := sim.create("/styles/kling-9/run", `{}`)
	if got := sim.get("/v1/videos/new-thing/" + v1); got.Code != 0 {
		t.Errorf("query: %s", got.Body)
	}
	if v, _ := sim.Task(v2); v.Model != "kling-9" || v.Kind.Pool != "sketch" {
		t.Errorf("task %+v", v)
	}
}

// TestCloseWaits holds a callback in its receiver: Close has to cancel it, and everything that is due.
func TestCloseWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		arrived := make(chan struct{})
		hang := roundTripper(func(r *http.Request) (*http.Response, error) {
			close(arrived)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		sim := newAPI(t, klingtest.Options{CallbackHTTP: &http.Client{Transport: hang}, CallbackRetries: 9})
		id := sim.create(textToVideo, `{"prompt":"p","callback_url":"`+callbackURL+`"}`)
		finish(t, sim.Server, id)
		<-arrived
		sim.create(textToVideo, `{"prompt":"p","callback_url":"`+callbackURL+`"}`)
		sim.Close()
		sim.Close()
		time.Sleep(time.Hour)
		if v, _ := sim.Task(id); v.CallbacksSent != 1 || v.CallbacksAccepted != 0 {
			t.Errorf("callbacks sent %d, accepted %d", v.CallbacksSent, v.CallbacksAccepted)
		}
		if running := sim.Tasks()[1]; running.Status != klingtest.StatusSubmitted {
			t.Errorf("a task went on after Close: %s", running.Status)
		}
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestThousandsOfTasks runs many short tasks at once, over real connections for their callbacks.
func TestThousandsOfTasks(t *testing.T) {
	t.Parallel()
	const n = 2000
	var got sync.WaitGroup
	got.Add(n)
	calls := newEndpoint(t, func(received) { got.Done() })
	sim := newAPI(t, klingtest.Options{
		Duration: 300 * time.Millisecond, Slots: map[kling.Pool]int{kling.PoolVideo: n}, Callbacks: klingtest.TerminalOnly,
	})
	for range n {
		sim.create(textToVideo, `{"prompt":"p","callback_url":"`+calls+`"}`)
	}
	got.Wait()
	sim.Close() // the last callbacks have arrived, but their answers may be on the way
	for _, v := range sim.Tasks() {
		if v.Status != klingtest.StatusSucceed || v.CallbacksSent != 1 {
			t.Fatalf("task %s: %s, %d callbacks", v.ID, v.Status, v.CallbacksSent)
		}
	}
}

func BenchmarkCreate(b *testing.B) {
	sim := newAPI(b, klingtest.Options{
		Duration: time.Millisecond, Slots: map[kling.Pool]int{kling.PoolVideo: 1 << 30}, Callbacks: klingtest.None,
	})
	for b.Loop() {
		sim.create(textToVideo, `{"prompt":"a boat on a lake at dawn","model_name":"kling-v3","duration":"5","mode":"pro"}`)
	}
}
