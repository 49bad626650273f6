package chaos_test

import (
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

const (
	callbackEvery = 50 * time.Millisecond
	aroundOutage  = 20 // callbacks before it, and as many after it
)

// takeNATSAway stops NATS while Kling calls back twenty times a second, and starts it again.
func (w *world) takeNATSAway(server *bustest.Server, outage time.Duration) {
	w.t.Helper()
	w.ask(2*aroundOutage+2*int(outage/callbackEvery), fatePlain)
	w.eventually("every request is a task", func() bool {
		return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
	})
	tasks := w.sim.Tasks()
	tasks = w.end(tasks, aroundOutage, time.Hour)

	server.Stop()
	stopped := time.Now()
	tasks = w.end(tasks, len(tasks), outage)
	back := time.Now()
	server.Restart()

	tasks = w.end(tasks, aroundOutage, time.Hour)
	w.end(tasks, len(tasks), time.Hour)
	w.judgeOutage(stopped, back)
}

// end ends tasks, one at a time, until n have ended or the time is over, and returns those that are left.
func (w *world) end(tasks []klingtest.TaskView, n int, limit time.Duration) (left []klingtest.TaskView) {
	w.t.Helper()
	over := time.NewTimer(limit)
	defer over.Stop()
	ticker := time.NewTicker(callbackEvery)
	defer ticker.Stop()
	for range min(n, len(tasks)) {
		select {
		case <-over.C:
			return tasks
		case <-ticker.C:
		}
		if err := w.sim.Finish(tasks[0].ID); err != nil {
			w.t.Fatal(err)
		}
		tasks = tasks[1:]
	}
	return tasks
}

// judgeOutage looks at how callbacks were answered while NATS was away.
func (w *world) judgeOutage(stopped, back time.Time) {
	w.t.Helper()
	refused := 0
	for _, a := range w.phone.answered() {
		if a.at.Before(stopped) || a.at.After(back) {
			continue
		}
		switch {
		case a.status/100 == 2 && a.at.Add(-a.took).After(stopped):
			w.t.Errorf("a callback was answered %d %s after NATS had gone", a.status, a.at.Sub(stopped))
		case a.status == 503:
			refused++
		}
	}
	if refused == 0 {
		w.t.Error("no callback was refused while NATS was away")
	}
	w.t.Logf("%d callbacks were refused while NATS was away", refused)
}
