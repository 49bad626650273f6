package bridge_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// quickPolls has tasks polled after a fifth of a second, and no callbacks.
var quickPolls = bridge.Options{PollMinInterval: 200 * time.Millisecond, PollMaxInterval: 200 * time.Millisecond}

// solutionBodies has a request for each kind that is queried with GET /solutions.
var solutionBodies = map[string]map[string]any{
	"virtual-try-on": {"contents": []any{map[string]any{"type": "image", "url": "https://example.com/a.png"}}},
	"drama-subtitle": {"contents": []any{map[string]any{"type": "video", "url": "https://example.com/a.mp4"}}},
	"clothing-dupe":  {"contents": []any{map[string]any{"type": "image", "url": "https://example.com/a.png"}}},
}

// refuser refuses queries by ids that hold a certain one, whatever else they hold.
type refuser struct {
	mu      sync.Mutex
	id      string // empty: none
	longest int    // query
}

func (r *refuser) refuse(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.id = id
}

func (r *refuser) query(v klingtest.QueryView) klingtest.Fault {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.longest = max(r.longest, len(v.IDs))
	if r.id != "" && slices.Contains(v.IDs, r.id) {
		return klingtest.Answer{HTTPStatus: 400, Code: 1201, Message: "task_ids value is invalid"}
	}
	return nil
}

// TestPollOfManyAndARefusedOne polls more tasks of the newer API than Kling takes in one query, 20 (recorded 2026-09). One
// of them is refused with all that it is asked with, until it no longer is.
func TestPollOfManyAndARefusedOne(t *testing.T) {
	t.Parallel()
	const tasks = 45
	r := &refuser{}
	sim := silent()
	sim.Slots, sim.Faults.Query = map[kling.Pool]int{kling.PoolVideo: tasks}, r.query
	w := start(t, setup{sim: sim, pollOnly: true, bridge: quickPolls})
	refused := w.task("text-to-video", "refused")
	r.refuse(refused.ID)
	for i := range tasks - 1 {
		w.request(testRequest{Kind: "text-to-video", ID: fmt.Sprintf("order-%d", i), Body: body(coreBodies["text-to-video"])})
	}
	if err := w.sim.WaitTasks(w.ctx, tasks); err != nil {
		t.Fatal(err)
	}
	for _, task := range w.sim.Tasks() {
		if err := w.sim.Finish(task.ID); err != nil {
			t.Fatal(err)
		}
	}
	for i := range tasks - 1 {
		if ev := w.await(fmt.Sprintf("order-%d", i)); ev.Status != events.StatusSucceed {
			t.Errorf("got %+v", ev)
		}
	}
	if n := w.count("KLING_EVENTS", "kling.completion.*.*.refused"); n != 0 {
		t.Error("the refused one has ended")
	}
	r.refuse("")
	w.await("refused")
	if r.longest > 20 {
		t.Errorf("%d ids in one query", r.longest)
	}
	w.noViolations()
}

// TestPollOfARefusedList has Kling refuse the list of one kind for good, and then its queries too: each task is asked for
// by itself, and where that is refused by GET /tasks, which knows it as well (recorded 2026-09).
func TestPollOfARefusedList(t *testing.T) {
	t.Parallel()
	for name, routes := range map[string][]klingtest.Route{
		"its list":             {klingtest.RouteList},
		"its list and queries": {klingtest.RouteList, klingtest.RouteQuery},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refuse := func(v klingtest.QueryView) klingtest.Fault {
				if v.Kind == "text2video" && slices.Contains(routes, v.Route) {
					return klingtest.Answer{HTTPStatus: 400, Code: 1201, Message: "This API is no longer available"} // recorded 2026-09
				}
				return nil
			}
			w := start(t, setup{
				sim:      klingtest.Options{Callbacks: klingtest.None, Faults: klingtest.Faults{Query: refuse}},
				pollOnly: true, bridge: quickPolls,
			})
			const tasks = 12 // enough for a list to be worth trying
			for i := range tasks {
				w.submit(fmt.Sprintf("order-%d", i), "a")
			}
			for i := range tasks {
				if ev := w.await(fmt.Sprintf("order-%d", i)); ev.Status != events.StatusSucceed || len(ev.Result.Videos) != 1 {
					t.Errorf("got %+v", ev)
				}
			}
		})
	}
}

// TestPollOfSolutions polls the kinds that GET /tasks knows nothing of.
func TestPollOfSolutions(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	asked := map[klingtest.Route]int{}
	w := start(t, setup{
		sim: klingtest.Options{Callbacks: klingtest.None, Faults: klingtest.Faults{Query: func(v klingtest.QueryView) klingtest.Fault {
			mu.Lock()
			defer mu.Unlock()
			asked[v.Route]++
			return nil
		}}},
		pollOnly: true, bridge: quickPolls,
	})
	for kind, fields := range solutionBodies {
		w.request(testRequest{Kind: kind, ID: kind, Body: body(fields)})
	}
	for kind := range solutionBodies {
		if ev := w.await(kind); ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll || ev.Kind != kind {
			t.Errorf("%s: got %+v", kind, ev)
		}
	}
	if asked[klingtest.RouteSolutions] == 0 || len(asked) != 1 {
		t.Errorf("asked by %v", asked)
	}
	w.noViolations()
}

// TestPollConsumerInOtherHands changes the consumer of polls to one of completions, as whoever may make consumers can.
// Recorded: the completions were deleted as records whose timer has fired, and nothing was polled any more.
func TestPollConsumerInOtherHands(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Callbacks: klingtest.None}, pollOnly: true, bridge: quickPolls})
	const before = 5
	for i := range before {
		w.submit(fmt.Sprintf("order-%d", i), "a")
	}
	for i := range before {
		w.await(fmt.Sprintf("order-%d", i))
	}
	stream, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	polls, err := stream.Consumer(w.ctx, "polls")
	if err != nil {
		t.Fatal(err)
	}
	config := polls.CachedInfo().Config
	config.FilterSubject = "kling.completion.>"
	if _, err := stream.UpdateConsumer(w.ctx, config); err != nil {
		t.Fatal(err)
	}
	w.submit("after", "a")
	if ev := w.await("after"); ev.Status != events.StatusSucceed || ev.Source != events.SourcePoll {
		t.Errorf("got %+v", ev)
	}
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != before+1 {
		t.Errorf("%d completions are stored, want %d", n, before+1)
	}
}
