package bridge_test

import (
	"flag"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// codeNoCapacity is Kling's refusal of a task beyond the account's concurrency.
const codeNoCapacity = 1303

var slotRequests = flag.Int("slots.requests", 120, "requests of TestSlotsStayBusy, for each number of replicas")

// TestSlotsStayBusy works off a backlog of many times the pool, alone and with replicas that share it. How busy the slots
// are is told and not judged: that is for "make bench", on a machine that does nothing else.
func TestSlotsStayBusy(t *testing.T) {
	t.Parallel()
	const slots = 8
	requests := *slotRequests
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d replicas", replicas), func(t *testing.T) {
			t.Parallel()
			w := start(t, setup{replicas: replicas, sim: klingtest.Options{
				Slots:        map[kling.Pool]int{kling.PoolVideo: slots},
				SubmittedFor: 20 * time.Millisecond, Duration: 300 * time.Millisecond,
			}})
			for i := range requests {
				w.submit(fmt.Sprintf("r-%d", i), "a")
			}
			w.eventually("every request has ended", func() bool {
				return w.count("KLING_EVENTS", "kling.completion.>") == uint64(requests)
			})
			busy := w.utilisation(kling.PoolVideo, slots)
			refused := float64(w.sim.Calls().Refused[codeNoCapacity]) / float64(requests)
			t.Logf("%d replicas: slots busy %.3f of the time, %.3f refusals a request", replicas, busy, refused)
			if refused > 0.3 {
				t.Errorf("%.3f refusals a request, want at most 0.3", refused)
			}
			w.noViolations()
		})
	}
}

// TestFullPool fills the only video slot: images are made all the same, and when the slot is free the urgent request
// comes before all that have waited longer.
func TestFullPool(t *testing.T) {
	t.Parallel()
	for _, replicas := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d replicas", replicas), func(t *testing.T) {
			t.Parallel()
			w := start(t, setup{replicas: replicas, sim: klingtest.Options{
				Slots:        map[kling.Pool]int{kling.PoolVideo: 1, kling.PoolImage: 1},
				SubmittedFor: time.Hour, Duration: 2 * time.Hour, // until the test says so
			}})
			holds := w.task("text2video", "holds")
			for i := range 12 {
				w.submit(fmt.Sprintf("normal-%d", i), "a")
			}
			w.request(testRequest{Kind: "image-generations", ID: "image", Body: body(map[string]any{"prompt": "a"})})
			w.eventually("an image is made", func() bool { return len(w.sim.Tasks()) == 2 })
			w.eventually("the full pool was tried", func() bool { return w.sim.Calls().Refused[codeNoCapacity] > 0 })
			told, err := w.nc.SubscribeSync("kling-state.slots.video")
			if err != nil {
				t.Fatal(err)
			}
			w.request(testRequest{
				Kind: "text2video", ID: "urgent", Priority: events.PriorityHigh, Body: body(map[string]any{"prompt": "a"}),
			})
			w.eventually("the urgent request waits", func() bool { return waitsUrgently(told) })
			w.freesSlotsFor("-urgent", holds.ID, 5*(replicas-1)/2)
		})
	}
}

// freesSlotsFor ends the last task, so that a request has its turn. A replica on a busy machine may come too late for its slot, so
// many times: it has 25 ms for it.
func (w *world) freesSlotsFor(suffix, last string, late int) {
	w.t.Helper()
	for n := len(w.sim.Tasks()) + 1; ; n++ {
		if err := w.sim.Finish(last); err != nil {
			w.t.Fatal(err)
		}
		w.eventually("there is another task", func() bool { return len(w.sim.Tasks()) == n })
		next := w.sim.Tasks()[n-1]
		if strings.HasSuffix(next.ExternalID, suffix) {
			return
		}
		if late--; late < 0 {
			w.t.Errorf("the slot went to %s", next.ExternalID)
			return
		}
		last = next.ID
	}
}

// waitsUrgently reports whether the next thing that replicas tell each other is that an urgent request waits.
func waitsUrgently(told *nats.Subscription) bool {
	msg, err := told.NextMsg(patience)
	return err == nil && strings.Contains(string(msg.Data), `"wait":1`) && strings.Contains(string(msg.Data), `"priority":"high"`)
}

// utilisation is the share of the pool's slots that were busy from the first task to the end of the last.
func (w *world) utilisation(pool kling.Pool, slots int) float64 {
	var first, last time.Time
	for _, task := range w.sim.Tasks() {
		if first.IsZero() || task.CreatedAt.Before(first) {
			first = task.CreatedAt
		}
		if task.EndedAt.After(last) {
			last = task.EndedAt
		}
	}
	return w.sim.BusySlotTime(pool).Seconds() / (float64(slots) * last.Sub(first).Seconds())
}

// TestBoundHoldsOverReplicas gives three replicas more to do than the configured bound lets them, all at once.
func TestBoundHoldsOverReplicas(t *testing.T) {
	t.Parallel()
	const bound, requests = 2, 40
	w := start(t, setup{replicas: 3, bridge: bridge.Options{Concurrency: map[kling.Pool]int{kling.PoolVideo: bound}}})
	for i := range requests {
		w.submit(fmt.Sprintf("r-%d", i), "a")
	}
	w.eventually("every request has ended", func() bool {
		return w.count("KLING_EVENTS", "kling.completion.>") == requests
	})
	if most := w.mostInFlight(); most > bound {
		t.Errorf("%d tasks were in flight at a time, want at most %d", most, bound)
	}
}

// mostInFlight is how many tasks existed at the same time.
func (w *world) mostInFlight() (most int) {
	tasks := w.sim.Tasks()
	for _, a := range tasks {
		n := 0
		for _, b := range tasks {
			if !b.CreatedAt.After(a.CreatedAt) && b.EndedAt.After(a.CreatedAt) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
