package bridge_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/big"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// failFirst fails the first n tasks of each prompt that Kling is asked for, for no fault of the request.
func failFirst(n int) func(klingtest.TaskView) (string, bool) {
	var mu sync.Mutex
	seen := map[string]map[string]bool{}
	return func(t klingtest.TaskView) (string, bool) {
		mu.Lock()
		defer mu.Unlock()
		prompt := t.Prompt
		if seen[prompt] == nil {
			seen[prompt] = map[string]bool{}
		}
		if !seen[prompt][t.ID] && len(seen[prompt]) < n {
			seen[prompt][t.ID] = true
		}
		return "generation failed", seen[prompt][t.ID]
	}
}

// charge has Kling take something for what it fails, too.
func charge(_ klingtest.Rendering, t klingtest.TaskView, object json.RawMessage) json.RawMessage {
	if t.Status != klingtest.StatusFailed {
		return nil
	}
	return bytes.Replace(object, []byte(`"final_unit_deduction":"0"`), []byte(`"final_unit_deduction":"0.35"`), 1)
}

// retried publishes a request that may be tried n times more.
func (w *world) retried(id string, n int, fields map[string]any) {
	w.t.Helper()
	msg := w.message(id, id)
	msg.Header.Set(events.HeaderRetries, strconv.Itoa(n))
	if fields != nil {
		fields["prompt"] = id
		msg.Data = body(fields)
	}
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		w.t.Fatal(err)
	}
}

// TestRetries has Kling fail tasks that succeed later: each is made again under an id of its own, the failures are told, and
// the completion is that of the last.
func TestRetries(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]setup{
		"by callback": {}, "by poll": {pollOnly: true, bridge: bridge.Options{PollMinInterval: 50 * time.Millisecond, PollMaxInterval: time.Second}},
		"by trusted query": {bridge: bridge.Options{CallbackTrust: "query"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.sim.Fail, s.sim.Faults.Reshape, s.bridge = failFirst(2), charge, metered(t, s.bridge)
			w := start(t, s)
			w.retried("order-1", 2, nil)
			w.retried("own", 3, map[string]any{"external_task_id": "mine"})
			w.retried("once", 1, nil)
			ev := w.await("order-1")
			if ev.Status != events.StatusSucceed || len(ev.Tries) != 2 || ev.ExternalTaskID == ev.Tries[0].ExternalTaskID {
				t.Errorf("ended %s after %+v", ev.Status, ev.Tries)
			}
			if own := w.await("own"); own.ExternalTaskID != "mine-3" || own.Tries[0].ExternalTaskID != "mine" || own.Tries[1].ExternalTaskID != "mine-2" {
				t.Errorf("a request with an external id of its own ended with %q after %+v", own.ExternalTaskID, own.Tries)
			}
			if once := w.await("once"); once.Status != events.StatusFailed || len(once.Tries) != 1 || once.Error.Class != events.ErrorKling {
				t.Errorf("a request that may be tried once more ended %s after %+v", once.Status, once.Tries)
			}
			w.settledDown()
			w.triesAddUp("order-1", "own", "once")
			if got := w.timeline("order-1"); strings.Count(got, "submitted") != 3 || strings.Count(got, "retrying") != 2 ||
				!strings.HasPrefix(got, "submitted ") || !strings.HasSuffix(got, " succeed") {
				t.Errorf("the console's timeline is %s", got)
			}
			w.noViolations()
			w.counted(map[string]float64{`kling_retries_total{class="kling",kind="text2video"}`: 2 + 2 + 1})
			if n := len(w.sim.Tasks()); n != 3+3+2 {
				t.Errorf("%d tasks, want 8", n)
			}
		})
	}
}

// timeline is the statuses that the console shows of a request, in their order.
func (w *world) timeline(id string) string {
	w.t.Helper()
	_, text := get(w.t, w.replicas[0].adminURL+"/api/task?id="+id)
	var told struct {
		Steps []struct {
			Status string `json:"status"`
		} `json:"steps"`
	}
	if err := json.Unmarshal([]byte(text), &told); err != nil {
		w.t.Fatalf("%s: %v", text, err)
	}
	var all []string
	for _, step := range told.Steps {
		if step.Status != "" {
			all = append(all, step.Status)
		}
	}
	return strings.Join(all, " ")
}

// triesAddUp holds the events of requests that have ended to their tasks at Kling.
func (w *world) triesAddUp(ids ...string) {
	w.t.Helper()
	made := map[string][]string{}
	for _, task := range w.sim.Tasks() {
		made[task.Prompt] = append(made[task.Prompt], task.ID)
	}
	for _, id := range ids {
		end := w.await(id)
		var told, tried []string
		var units big.Rat
		for _, ev := range w.retryings(id) {
			told = append(told, ev.TaskID)
			addUnits(&units, ev.Units)
			if ev.Message == "" || len(ev.Kling) == 0 {
				w.t.Errorf("%s: retrying of task %s says %q and has %s of Kling's", id, ev.TaskID, ev.Message, ev.Kling)
			}
		}
		for _, try := range end.Tries {
			tried = append(tried, try.TaskID)
		}
		if diff := cmp.Diff(tried, told); diff != "" {
			w.t.Errorf("%s: the completion and its retrying events tell of other tries (-completion +events):\n%s", id, diff)
		}
		if diff := cmp.Diff(slices.Sorted(slices.Values(append(tried, end.TaskID))), slices.Sorted(slices.Values(made[id]))); diff != "" {
			w.t.Errorf("%s: other tasks than tries (-told +at Kling):\n%s", id, diff)
		}
		var last struct {
			Units string `json:"final_unit_deduction"`
		}
		if err := json.Unmarshal(end.Kling, &last); err != nil {
			w.t.Fatal(err)
		}
		addUnits(&units, last.Units)
		if addUnits(&units, "-"+end.Units); units.Sign() != 0 {
			w.t.Errorf("%s: %s units are wrong by %s", id, end.Units, units.FloatString(3))
		}
	}
}

// retryings returns the retrying events of a request, in their order, and checks that no event of it is there twice.
func (w *world) retryings(id string) (all []events.Event) {
	w.t.Helper()
	s := subjects.Default()
	msgIDs := map[string]int{}
	for _, m := range w.stored(s.EventsStream(), s.EventsOf(events.Token(id))) {
		msgID := m.Header.Get("Nats-Msg-Id")
		if msgIDs[msgID]++; msgIDs[msgID] > 1 {
			w.t.Errorf("%s: %d events %s", id, msgIDs[msgID], msgID)
		}
		if p, _ := s.Parse(m.Subject); p.Status != events.StatusRetrying {
			continue
		}
		var ev events.Event
		if err := json.Unmarshal(m.Data, &ev); err != nil {
			w.t.Fatal(err)
		}
		all = append(all, ev)
	}
	return all
}

func addUnits(sum *big.Rat, units string) {
	if n, ok := new(big.Rat).SetString(units); ok {
		sum.Add(sum, n)
	}
}

// secondTry tells the create calls of second tries: their external ids are derived in a form of their own.
func secondTry(externalID string) bool { return strings.Contains(externalID, "_2-") }

// TestCallbacksOfEarlierTries has Kling say more of a task that it has failed, while the next one runs.
func TestCallbacksOfEarlierTries(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{
		Fail: func(v klingtest.TaskView) (string, bool) { return "generation failed", !secondTry(v.ExternalID) },
		DurationOf: func(v klingtest.TaskView) time.Duration {
			if secondTry(v.ExternalID) {
				return time.Hour
			}
			return 60 * time.Millisecond
		},
	}})
	w.retried("order-1", 1, nil)
	w.eventually("the second task runs", func() bool { return len(w.sim.Tasks()) == 2 })
	w.untilStatus("order-1", events.StatusProcessing)
	first, second := w.sim.Tasks()[0], w.sim.Tasks()[1]
	before := w.events("order-1")
	anonymous := `{"task_status":"failed","task_status_msg":"generation failed","task_id":"` + first.ID + `"}`
	stranger := strings.ReplaceAll(strings.ReplaceAll(v1Body(first, "failed"), first.ID, "871000000000000999"), first.ExternalID, "other")
	for body, want := range map[string]int{
		v1Body(first, "failed"):     http.StatusOK,
		v1Body(first, "processing"): http.StatusOK,
		v1Body(first, "succeed"):    http.StatusOK,
		anonymous:                   http.StatusOK,
		stranger:                    http.StatusConflict,
	} {
		if got := w.post(first.CallbackURL, body); got != want {
			t.Errorf("%s was answered %d, want %d", body, got, want)
		}
	}
	if diff := cmp.Diff(before, w.events("order-1")); diff != "" {
		t.Errorf("what was said of the first task published something:\n%s", diff)
	}
	if err := w.sim.Finish(second.ID); err != nil {
		t.Fatal(err)
	}
	if ev := w.await("order-1"); ev.Status != events.StatusSucceed || ev.TaskID != second.ID {
		t.Errorf("ended %s by task %s, want succeed by %s", ev.Status, ev.TaskID, second.ID)
	}
	if got := w.post(first.CallbackURL, v1Body(first, "failed")); got != http.StatusOK {
		t.Errorf("after the end the first task's callback was answered %d", got)
	}
	w.settledDown()
	w.triesAddUp("order-1")
}

// TestWhileATryWaits has Kling fail a task and then have no room: what waits is seen, cancelled, expires, and goes on, and a
// message that claims to be the next try is not taken for it.
func TestWhileATryWaits(t *testing.T) {
	t.Parallel()
	var room atomic.Bool
	w := start(t, setup{sim: klingtest.Options{
		Fail: func(v klingtest.TaskView) (string, bool) { return "generation failed", !secondTry(v.ExternalID) },
		Faults: klingtest.Faults{Create: func(v klingtest.CreateView) klingtest.Fault {
			if secondTry(v.ExternalID) && !room.Load() {
				return klingtest.Answer{Code: 1303}
			}
			return nil
		}},
	}})
	w.retried("cancelled", 1, nil)
	w.retried("goes-on", 1, nil)
	expires := w.message("expires", "expires")
	expires.Header.Set(events.HeaderRetries, "1")
	expires.Header.Set(events.HeaderTimeout, "6s")
	if _, err := w.js.PublishMsg(w.ctx, expires); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"cancelled", "goes-on"} {
		if task := w.untilStatus(id, events.StatusRetrying); len(task.Tries) != 1 || task.TaskID != "" ||
			task.Wait == nil || task.Wait.For != events.WaitForTry || task.Wait.Until == nil {
			t.Errorf("%s waits with task %q after %+v", id, task.TaskID, task.Tries)
		}
	}
	forged := w.message("goes-on", "forged")
	forged.Subject += ".high" // it would go first
	forged.Header.Set("Kling-Fence", "AAAAAAAAAAAAAAAAAAAAAAAAAA")
	if _, err := w.js.PublishMsg(w.ctx, forged); err != nil {
		t.Fatal(err)
	}
	w.eventually("the cancellation holds", func() bool { // it may be in hand, between two refusals
		return w.client.Cancel(w.ctx, "cancelled") == nil
	})
	if ev := w.await("cancelled"); ev.Status != events.StatusCancelled || len(ev.Tries) != 1 {
		t.Errorf("ended %s after %+v", ev.Status, ev.Tries)
	}
	if ev := w.await("expires"); ev.Status != events.StatusExpired || len(ev.Tries) != 1 {
		t.Errorf("ended %s after %+v", ev.Status, ev.Tries)
	}
	room.Store(true)
	if ev := w.await("goes-on"); ev.Status != events.StatusSucceed {
		t.Errorf("ended %s", ev.Status)
	}
	w.settledDown()
	w.triesAddUp("goes-on")
	if n := len(w.sim.Tasks()); n != 4 {
		t.Errorf("%d tasks, want 4", n)
	}
}

// TestNotTriedAgain has failures that another try would not mend, and a further try that Kling refuses.
func TestNotTriedAgain(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{
		Faults: klingtest.Faults{Create: func(v klingtest.CreateView) klingtest.Fault {
			if secondTry(v.ExternalID) {
				return klingtest.Answer{Code: 1301, Message: "risk control"}
			}
			return nil
		}},
	}})
	for id, prompt := range map[string]string{
		"policy": "fail:Failure to pass the risk control system", "refused": "fail:generation failed", "plain": "fail:generation failed",
	} {
		msg := w.message(id, prompt)
		if id != "plain" {
			msg.Header.Set(events.HeaderRetries, "5")
		}
		if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
			t.Fatal(err)
		}
	}
	for id, want := range map[string]events.ErrorClass{"policy": events.ErrorPolicy, "plain": events.ErrorKling, "refused": events.ErrorPolicy} {
		if ev := w.await(id); ev.Status != events.StatusFailed || ev.Error.Class != want || len(ev.Tries) != 0 || ev.TaskID == "" {
			t.Errorf("%s ended %s of task %q with %v after %+v", id, ev.Status, ev.TaskID, ev.Error, ev.Tries)
		}
	}
	malformed := w.message("malformed", "x")
	malformed.Header.Set(events.HeaderRetries, "6")
	if _, err := w.js.PublishMsg(w.ctx, malformed); err != nil {
		t.Fatal(err)
	}
	if ev := w.await("malformed"); ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInvalid {
		t.Errorf("Kling-Retries: 6 ended %s with %v", ev.Status, ev.Error)
	}
	w.settledDown()
	if n := len(w.sim.Tasks()); n != 3 {
		t.Errorf("%d tasks, want 3", n)
	}
}

// TestRetriesThroughRestarts has Kling fail half of all tasks and lose replies, while the replicas are stopped and started in turn.
func TestRetriesThroughRestarts(t *testing.T) {
	t.Parallel()
	const requests = 24
	s := setup{replicas: 2, bridge: bridge.Options{Retries: 2, LookupWindow: 2 * time.Second}, sim: klingtest.Options{
		Seed: 7, Slots: map[kling.Pool]int{kling.PoolVideo: 6},
		Fail: func(v klingtest.TaskView) (string, bool) {
			return "generation failed", crc32.ChecksumIEEE([]byte(v.ExternalID))%2 == 0
		},
		Faults: klingtest.Faults{LoseReply: 0.1, LoseCallback: 0.1, RepeatCallback: 0.2},
	}}
	s.bridge.PollAfter, s.bridge.PollMinInterval, s.bridge.Namespace = time.Second, 200*time.Millisecond, "restarts"
	w := start(t, s)
	ids := make([]string, requests)
	for i := range ids {
		ids[i] = fmt.Sprintf("order-%d", i)
		w.submit(ids[i], ids[i])
	}
	s0 := subjects.Default()
	ended := func() uint64 { return w.count(s0.EventsStream(), s0.AllCompletions()) }
	for i, n := 0, uint64(0); n < requests; i++ {
		w.replicas[i%2].stop()
		w.replicas[i%2] = w.startBridge(s)
		w.eventually("one more has ended", func() bool { return ended() > n })
		n = ended()
	}
	w.settledDown()
	w.triesAddUp(ids...)
	for _, id := range ids {
		ev := w.await(id)
		want := events.StatusSucceed
		if crc32.ChecksumIEEE([]byte(ev.ExternalTaskID))%2 == 0 {
			want = events.StatusFailed
		}
		if ev.Status != want || want == events.StatusFailed && len(ev.Tries) != 2 {
			t.Errorf("%s ended %s after %d failed tasks", id, ev.Status, len(ev.Tries))
		}
	}
}

// TestCallbacksOfAnEarlierTry has Kling call back again about a task that it failed, while the next one is to be made on another
// account, and while that is under way.
func TestCallbacksOfAnEarlierTry(t *testing.T) {
	t.Parallel()
	a, b := silent(), silent()
	a.WebhookSecret, b.WebhookSecret = "whsec_YWFhYWFhYWFhYWFh", "whsec_YmJiYmJiYmJiYmJi"
	main, burst := openAccount(t, "main", 5, a), openAccount(t, "burst", 5, b)
	w := start(t, setup{bridge: on(t, main, burst)})
	msg := w.message("order-1", "a")
	msg.Header.Set(events.HeaderRetries, "1")
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		t.Fatal(err)
	}
	w.haveTasks("it is on the first account", map[*simAccount]int{main: 1, burst: 0})
	w.untilStatus("order-1", events.StatusSubmitted)
	main.SetAuthOutage(1002) // it can't be asked either
	burst.SetAuthOutage(1002)
	first := main.Tasks()[0]
	unknown := first
	unknown.ID, unknown.ExternalID = "871000000000000900", ""
	post := func(what string, task klingtest.TaskView, status string, signer *simAccount, want int) {
		t.Helper()
		body := v1Body(task, status)
		if got := w.do(http.MethodPost, first.CallbackURL, body, signed(t, signer.secret, body)).status; got != want {
			t.Errorf("%s: answered %d, want %d", what, got, want)
		}
	}
	all := func(when string) {
		t.Helper()
		post(when+", again", first, "failed", main, http.StatusOK)
		post(when+", its beginning", first, "processing", main, http.StatusOK)
		post(when+", by another account", first, "failed", burst, http.StatusUnauthorized)
		post(when+", of another task", unknown, "failed", main, map[bool]int{true: http.StatusConflict, false: http.StatusUnauthorized}[when == "it waits"])
	}
	post("the end", first, "failed", main, http.StatusOK)
	all("it waits")
	burst.SetAuthOutage(0)
	w.haveTasks("the next is on the second account", map[*simAccount]int{main: 1, burst: 1})
	w.eventually("it is known", func() bool {
		task, err := w.client.Task(w.ctx, "order-1")
		return err == nil && task.Status == events.StatusSubmitted && task.Account == "burst"
	})
	all("the next is made")
	second := burst.Tasks()[0]
	if second.CallbackURL != first.CallbackURL {
		t.Errorf("called back at %s, and at %s", first.CallbackURL, second.CallbackURL)
	}
	post("the end of the next", second, "succeed", burst, http.StatusOK)
	if ev := w.await("order-1"); ev.Account != "burst" || ev.Status != events.StatusSucceed {
		t.Errorf("%+v", ev)
	}
	all("it has ended")
}
