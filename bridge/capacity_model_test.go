package bridge_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

const (
	scarce    = "kling-v3"
	plentiful = "kling-v2-6"
)

// submitModel publishes a request for a task of a model.
func (w *world) submitModel(id, model string) {
	w.t.Helper()
	w.request(testRequest{Kind: "text2video", ID: id, Body: body(map[string]any{"prompt": "a", "model_name": model})})
}

// TestCapacityByModelOrPool works off requests of two models, which Kling's text has by model and has always had by pool. With
// limits of 2 and 20, sixty requests took seven times as long as they had to (recorded 2026-11). Here tasks end all at once
// when Kling is full, so that the time it takes is told in rounds.
func TestCapacityByModelOrPool(t *testing.T) {
	t.Parallel()
	const each = 30
	for name, c := range map[string]struct {
		sim  klingtest.Options
		most func(scarce, plentiful int) int // tasks at a time, of so many that are left
	}{
		"by model": {
			klingtest.Options{SlotsByModel: map[string]int{scarce: 2, plentiful: 20}},
			func(a, b int) int { return min(a, 2) + min(b, 20) },
		},
		"by pool": {
			klingtest.Options{Slots: map[kling.Pool]int{kling.PoolVideo: 22}},
			func(a, b int) int { return min(a+b, 22) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.sim.SubmittedFor, c.sim.Duration = time.Hour, 2*time.Hour // until the test says so
			w := start(t, setup{sim: c.sim})
			for i := range each {
				w.submitModel(fmt.Sprintf("a-%d", i), scarce)
				w.submitModel(fmt.Sprintf("b-%d", i), plentiful)
			}
			left := map[string]int{scarce: each, plentiful: each}
			for left[scarce]+left[plentiful] > 0 {
				want := c.most(left[scarce], left[plentiful])
				w.eventually(fmt.Sprintf("there are %d tasks, of %v", want, left), func() bool { return len(w.running()) == want })
				for _, task := range w.running() {
					left[task.Model]--
					if err := w.sim.Finish(task.ID); err != nil {
						t.Fatal(err)
					}
				}
			}
			refused := float64(w.sim.Calls().Refused[codeNoCapacity]) / (2 * each)
			if t.Logf("%.3f refusals a request", refused); refused > 0.2 {
				t.Errorf("%.3f refusals a request, want at most 0.2", refused)
			}
			if ev := w.stored("KLING_EVENTS", "kling.progress.*.submitted.a-0"); ev[0].Header.Get(events.HeaderModel) != scarce {
				t.Errorf("the submitted event has headers %v", ev[0].Header)
			}
			w.noViolations()
		})
	}
}

// running lists the tasks that have not ended.
func (w *world) running() (tasks []klingtest.TaskView) {
	for _, task := range w.sim.Tasks() {
		if !task.Ended() {
			tasks = append(tasks, task)
		}
	}
	return tasks
}

// TestFullModelHoldsUpNoOther has hundreds of requests of a model that is full wait before those of another.
func TestFullModelHoldsUpNoOther(t *testing.T) {
	t.Parallel()
	const before, behind = 400, 20
	w := start(t, setup{sim: klingtest.Options{
		SlotsByModel: map[string]int{scarce: 2, plentiful: 5}, SubmittedFor: 20 * time.Millisecond,
		DurationOf: func(v klingtest.TaskView) time.Duration {
			if v.Model == scarce {
				return time.Hour
			}
			return 60 * time.Millisecond
		},
	}})
	for i := range before {
		w.submitModel(fmt.Sprintf("a-%d", i), scarce)
	}
	w.eventually("the model is full", func() bool { return w.sim.Calls().Refused[codeNoCapacity] > 0 })
	for i := range behind {
		w.submitModel(fmt.Sprintf("b-%d", i), plentiful)
	}
	for i := range behind {
		if ev := w.await(fmt.Sprintf("b-%d", i)); ev.Status != events.StatusSucceed {
			t.Errorf("%s: %s", ev.RequestID, ev.Status)
		}
	}
}
