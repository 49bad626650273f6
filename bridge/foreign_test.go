package bridge_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// plant has the server's answers to publishes stored in the stream of events, on each of these subjects.
func (w *world) plant(subjects ...string) {
	w.t.Helper()
	before := w.count("KLING_EVENTS", "marker")
	replies := make([]string, 0, len(subjects)+1)
	for _, subject := range append(subjects, "marker") {
		replies = append(replies, "kling-put."+subject)
	}
	w.trick(replies...)
	w.eventually("they are stored", func() bool { return w.count("KLING_EVENTS", "marker") > before })
}

// everywhere are subjects on which a message is taken for one about the request.
func everywhere(id string) []string {
	return []string{
		"kling-state.pending.text2video.video." + id, "kling-state.due.text2video.video." + id,
		"kling.progress.text2video.submitted." + id, "kling.completion.text2video.succeed." + id,
		"kling.late.text2video.succeed." + id, "kling.archived.text2video.succeed." + id,
		"kling.nonsense.a.b." + id, "a.b.c.d." + id,
	}
}

// about returns the subjects of what the stream of events holds about a request, in order.
func (w *world) about(id string) []string {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := s.Info(w.ctx, jetstream.WithSubjectFilter("*.*.*.*."+id))
	if err != nil {
		w.t.Fatal(err)
	}
	var subjects []string
	for subject, n := range info.State.Subjects {
		subjects = append(subjects, slices.Repeat([]string{subject}, int(n))...)
	}
	slices.Sort(subjects)
	return subjects
}

// TestForeignMessagesBeforeTheRequest has all that may be stored by mistake or malice stored before the request comes.
func TestForeignMessagesBeforeTheRequest(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	for i, subject := range everywhere("victim") {
		id := fmt.Sprintf("victim-%d", i)
		w.plant(strings.Replace(subject, "victim", id, 1))
		if ev := w.await(w.submit(id, "a")); ev.RequestID != id || ev.Status != events.StatusSucceed {
			t.Errorf("%s: %+v", subject, ev)
		}
	}
	w.plant(everywhere("all")...)
	if ev := w.await(w.submit("all", "a")); ev.RequestID != "all" || ev.Status != events.StatusSucceed {
		t.Errorf("%+v", ev)
	}
	w.settledDown()
	if n := len(w.sim.Tasks()); n != 9 {
		t.Errorf("%d tasks, want 9", n)
	}
}

// TestForeignMessagesBeforeTheEnd has them stored while the task is under way, whose result is paid for.
func TestForeignMessagesBeforeTheEnd(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	for i, subject := range everywhere("paid") {
		id := fmt.Sprintf("paid-%d", i)
		task := w.task("text2video", id)
		w.plant(strings.Replace(subject, "paid", id, 1))
		if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusOK {
			t.Errorf("%s: the callback is answered %d", subject, got)
			continue
		}
		if ev := w.await(id); ev.RequestID != id || ev.TaskID != task.ID {
			t.Errorf("%s: %+v", subject, ev)
		}
		if n := w.count("KLING_EVENTS", "kling.completion.*.*."+id); n != 1 {
			t.Errorf("%s: %d completions", subject, n)
		}
		if n := w.count("KLING_EVENTS", "kling-state.pending.*.*."+id); n != 0 {
			t.Errorf("%s: the timer is left", subject)
		}
	}
}

// TestForeignCompletionAfterTheEnd has one stored beside the real one: it goes when it is met, and no other comes.
func TestForeignCompletionAfterTheEnd(t *testing.T) {
	t.Parallel()
	log := &logged{}
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Logger: slog.New(slog.NewJSONHandler(log, nil))}})
	task := w.task("text2video", "done")
	if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusOK {
		t.Fatalf("got %d", got)
	}
	w.plant("kling.completion.text2video.failed.done", "kling.completion.text2video.succeed.done")
	for range 2 {
		if got := w.post(task.CallbackURL, v1Body(task, "failed")); got != http.StatusOK {
			t.Errorf("a repeat is answered %d", got)
		}
	}
	want := []string{"kling.completion.text2video.succeed.done", "kling.progress.text2video.submitted.done"}
	if got := w.about("done"); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, subject := range []string{"kling.completion.text2video.failed.done", "kling.completion.text2video.succeed.done"} {
		if !log.has("ERROR", subject) {
			t.Errorf("nothing is said of %s", subject)
		}
	}
}

// logged keeps log lines.
type logged struct {
	mu    sync.Mutex
	lines []string
}

func (l *logged) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, string(line))
	return len(line), nil
}

func (l *logged) has(all ...string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(l.lines, func(line string) bool {
		return !slices.ContainsFunc(all, func(part string) bool { return !strings.Contains(line, part) })
	})
}

// TestForeignMessagesAndRacingReplicas has the ends of many requests told to several replicas at once, with foreign
// messages in the way of each.
func TestForeignMessagesAndRacingReplicas(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		url      func(*testing.T) string
		replicas int
	}{
		"R1": {func(t *testing.T) string { return bustest.Start(t).URL() }, 1},
		"R3": {func(t *testing.T) string { return bustest.StartCluster(t).URL() }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const requests = 16 // as many tasks as Kling runs at a time, at most
			w := start(t, setup{
				sim: silent(), natsURL: c.url(t), replicas: 3, bridge: bridge.Options{StreamReplicas: c.replicas},
			})
			var tasks []klingtest.TaskView
			for i := range requests {
				tasks = append(tasks, w.task("text2video", fmt.Sprintf("r%d", i)))
			}
			var planted []string
			for i := range requests {
				planted = append(planted, everywhere(fmt.Sprintf("r%d", i))[:6]...)
			}
			w.plant(planted...)
			var calling sync.WaitGroup
			for _, task := range tasks {
				_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
				for i, status := range []string{"succeed", "failed", "succeed"} {
					url := w.replicas[i].callbackURL + "/callbacks/" + path
					calling.Go(func() {
						if got, err := w.try(url, v1Body(task, status)); got != http.StatusOK {
							t.Errorf("%s: %d, %v", task.ExternalID, got, err)
						}
					})
				}
			}
			calling.Wait()
			for i := range requests {
				id := fmt.Sprintf("r%d", i)
				if ev := w.await(id); ev.RequestID != id {
					t.Errorf("%s: %+v", id, ev)
				}
				if n := w.count("KLING_EVENTS", "kling.completion.*.*."+id); n != 1 {
					t.Errorf("%s has %d completions", id, n)
				}
			}
		})
	}
}

// try is post for other goroutines than the test's.
func (w *world) try(url, body string) (status int, err error) {
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	resp, err := noRedirects.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// TestForeignRecordsHoldNothingUp has records planted of requests that nobody made: they take no slot for good, and no
// place of those that are to be polled.
func TestForeignRecordsHoldNothingUp(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{Callbacks: klingtest.None}, pollOnly: true,
		bridge: bridge.Options{
			ReconcileInterval: 300 * time.Millisecond, PollMinInterval: 100 * time.Millisecond, LookupWindow: time.Second,
			Concurrency: map[kling.Pool]int{kling.PoolVideo: 1}, AckWait: time.Second,
		},
	})
	var planted []string
	for i := range 20 {
		planted = append(planted, everywhere(fmt.Sprintf("nobody-%d", i))[:2]...)
	}
	w.plant(planted...)
	w.startBridge(setup{bridge: bridge.Options{
		ReconcileInterval: 300 * time.Millisecond, Concurrency: map[kling.Pool]int{kling.PoolVideo: 1},
	}})
	if ev := w.await(w.submit("real", "a")); ev.Source != events.SourcePoll {
		t.Errorf("got %+v", ev)
	}
	w.settledDown()
}

// TestTimerThatForeignMessageEnded has the timer of a task whose callbacks never come ended by a planted message.
func TestTimerThatForeignMessageEnded(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{Callbacks: klingtest.None},
		bridge: bridge.Options{
			ReconcileInterval: 300 * time.Millisecond, PollAfter: time.Second, LookupWindow: time.Second,
		},
	})
	w.task("text2video", "stopped")
	w.plant("kling-state.pending.text2video.video.stopped")
	if ev := w.await("stopped"); ev.Source != events.SourcePoll || ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
}

// TestForeignDeadLetter has one in the way of a real one.
func TestForeignDeadLetter(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	w.trick("kling.dead.text2video.rejected.bad", "kling.dead.text2video.rejected.marker")
	w.eventually("it is stored", func() bool { return w.count("KLING_DEAD", "kling.dead.*.*.marker") == 1 })
	w.request(testRequest{Kind: "text2video", ID: "bad", Body: body(map[string]any{"callback_url": "https://example.com"})})
	if ev := w.await("bad"); ev.Status != events.StatusRejected {
		t.Errorf("got %+v", ev)
	}
	s, err := w.js.Stream(w.ctx, "KLING_DEAD")
	if err != nil {
		t.Fatal(err)
	}
	w.eventually("the dead letter is there, alone", func() bool {
		dead, err := s.GetLastMsgForSubject(w.ctx, "kling.dead.text2video.rejected.bad")
		return err == nil && dead.Header.Get(events.HeaderErrorClass) == "invalid" &&
			w.count("KLING_DEAD", "kling.dead.*.*.bad") == 1
	})
}

// TestForeignLateEvent has one stored beside an expired request: a list of tasks is not to fail for it.
func TestForeignLateEvent(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	w.await(w.request(testRequest{
		Kind: "text2video", ID: "late", Timeout: 500 * time.Millisecond, Body: body(coreBodies["text2video"]),
	}))
	w.plant("kling.late.text2video.succeed.late")
	list, err := w.client.Tasks(w.ctx, events.TaskQuery{})
	if err != nil || len(list.Tasks) != 1 || list.Tasks[0].Status != events.StatusExpired {
		t.Errorf("%+v, %v", list, err)
	}
}
