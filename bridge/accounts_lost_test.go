package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestPauseEndsForRequestsThatHaveTried has the only request in hand try a paused account, and the other one is full, or has no
// more of its model. The pause is over for it as soon as the account takes tasks again. Recorded: with three replicas, whose
// requests had all tried, two accounts got nothing more for minutes.
func TestPauseEndsForRequestsThatHaveTried(t *testing.T) {
	t.Parallel()
	for name, full := range map[string]struct {
		slots   int
		models  map[string]int
		another int // tasks of another model, which show that the pool is not full
	}{
		"the pool is full":  {slots: 1},
		"the model is full": {slots: 5, models: map[string]int{scarce: 1}, another: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := silent()
			o.SlotsByModel = full.models
			main, burst := openAccount(t, "main", 5, silent()), openAccount(t, "burst", full.slots, o)
			w := start(t, setup{bridge: on(t, main, burst)})
			main.SetAuthOutage(1002)
			w.submitModelTo("burst", "first", scarce)
			w.haveTasks("it has begun", map[*simAccount]int{main: 0, burst: 1})
			w.submitModelTo("burst", "second", scarce)
			w.eventually("its limit is known", func() bool { return burst.Calls().RefusedCreates[codeNoCapacity] > 0 })
			for i := range full.another {
				w.submitModelTo("burst", fmt.Sprintf("another-%d", i), plentiful)
			}
			w.haveTasks("others have begun", map[*simAccount]int{main: 0, burst: 1 + full.another})
			w.submitModelTo("", "third", scarce)
			w.eventually("it tries the account again and again", func() bool { return main.Calls().RefusedCreates[1002] > 2 })
			main.SetAuthOutage(0)
			w.haveTasks("the pause is over", map[*simAccount]int{main: 1, burst: 1 + full.another})
		})
	}
}

// TestLostStateIsLookedUpEverywhere loses all that is known of a task on the second account. The request comes again, and the first
// account has room: it is found where it is, however long that account does not answer.
func TestLostStateIsLookedUpEverywhere(t *testing.T) {
	t.Parallel()
	for name, unanswered := range map[string]int32{"it answers": 0, "it does not answer at first": 5} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var left atomic.Int32
			o := silent()
			o.Faults.Query = func(klingtest.QueryView) klingtest.Fault {
				if left.Add(-1) >= 0 {
					return klingtest.Error503NoTask
				}
				return nil
			}
			main, burst := openAccount(t, "main", 5, silent()), openAccount(t, "burst", 5, o)
			w := start(t, setup{bridge: on(t, main, burst)})
			main.SetAuthOutage(1002)
			w.submitTo("", "lost")
			w.haveTasks("it is on the second account", map[*simAccount]int{main: 0, burst: 1})
			w.loseState("lost")
			main.SetAuthOutage(0)
			left.Store(unanswered)
			w.submitTo("", "lost")
			w.replicas = []*running{w.startBridge(setup{bridge: on(t, main, burst)})}
			if unanswered > 0 {
				w.eventually("it says what it waits for", func() bool {
					task, err := w.client.Task(w.ctx, "lost")
					return err == nil && strings.HasPrefix(task.WaitsFor, "Kling on account burst: ") && task.Wait.For == events.WaitForAgain
				})
			}
			if task := w.untilStatus("lost", events.StatusSubmitted); task.Account != "burst" {
				t.Errorf("it is on %q", task.Account)
			}
			if n := onceEach(t, main, burst); n != 1 || len(main.Tasks()) != 0 {
				t.Errorf("%d tasks, %d of them on the first account", n, len(main.Tasks()))
			}
		})
	}
}

// loseState stops the bridge and removes all that it knows of a task.
func (w *world) loseState(id string) {
	w.t.Helper()
	w.untilStatus(id, events.StatusSubmitted)
	w.eventually("the request is acked", func() bool { return w.count("KLING_REQUESTS", ">") == 0 })
	w.replicas[0].stop()
	s, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Purge(w.ctx); err != nil {
		w.t.Fatal(err)
	}
}

// TestLookupWithARefusedKey has an account refuse the bridge's key for good. It holds up no request for ever that may be there.
func TestLookupWithARefusedKey(t *testing.T) {
	t.Parallel()
	main, burst := openAccount(t, "main", 5, silent()), openAccount(t, "burst", 5, silent())
	w := start(t, setup{bridge: on(t, main, burst)})
	w.replicas[0].stop()
	burst.SetAuthOutage(1002)
	w.submitTo("", "order-1") // before the replica is there: it may have been sent
	w.replicas = []*running{w.startBridge(setup{bridge: on(t, main, burst)})}
	w.haveTasks("it is sent on the other account", map[*simAccount]int{main: 1, burst: 0})
}

// TestCallbackOfATaskThatKlingStillDenies comes when all that was known of the request is lost, and neither account shows the task
// yet, which is so for a while after it was made. It is no forgery: Kling is to call back again.
func TestCallbackOfATaskThatKlingStillDenies(t *testing.T) {
	t.Parallel()
	var denied atomic.Bool
	o := silent()
	o.Faults.Query = func(klingtest.QueryView) klingtest.Fault {
		if denied.Load() {
			return klingtest.Answer{HTTPStatus: http.StatusNotFound, Code: 1203, Message: "task not found"}
		}
		return nil
	}
	main, burst := openAccount(t, "main", 5, silent()), openAccount(t, "burst", 5, o)
	w := start(t, setup{bridge: on(t, main, burst)})
	w.submitTo("burst", "order-1")
	w.haveTasks("it is a task", map[*simAccount]int{main: 0, burst: 1})
	w.loseState("order-1")
	denied.Store(true)
	w.replicas = []*running{w.startBridge(setup{bridge: on(t, main, burst)})}
	task := burst.Tasks()[0]
	_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
	url := w.replicas[0].callbackURL + "/callbacks/" + path
	if got := w.post(url, v1Body(task, "succeed")); got != http.StatusServiceUnavailable {
		t.Errorf("answered %d while no account shows the task", got)
	}
	denied.Store(false)
	if got := w.post(url, v1Body(task, "succeed")); got != http.StatusOK {
		t.Errorf("answered %d", got)
	}
	if ev := w.await("order-1"); ev.Account != "burst" || ev.Status != events.StatusSucceed {
		t.Errorf("%+v", ev)
	}
}
