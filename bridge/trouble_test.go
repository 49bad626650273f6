package bridge_test

import (
	"context"
	"net/http"
	"regexp"
	"testing"

	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// untilWaitsFor waits until a request waits for what a pattern says.
func (w *world) untilWaitsFor(id string, pattern string) events.Task {
	w.t.Helper()
	want := regexp.MustCompile("^" + pattern + "$")
	var task events.Task
	w.eventually(id+" waits for "+pattern, func() bool {
		var err error
		task, err = w.client.Task(w.ctx, id)
		return err == nil && want.MatchString(task.WaitsFor)
	})
	return task
}

// TestWaitsForATry says of a request that can't be sent why, how often it was tried, and when it is next.
func TestWaitsForATry(t *testing.T) {
	t.Parallel()
	client, err := kling.NewClient(kling.Options{
		BaseURL: "http://" + bustest.FreeAddr(t), Credentials: kling.Credentials{APIKey: apiKey},
		TracerProvider: noop.NewTracerProvider(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	w := start(t, setup{bridge: bridge.Options{Kling: client}})
	w.submit("a", "a")
	w.untilWaitsFor("a", `Kling: connection refused, [1-9]\d* (try|tries), next in \d+ s`)
	task := w.untilWaitsFor("a", `Kling: connection refused, [2-9] tries, next in \d+ s`)
	if task.Status != events.StatusWaiting || task.Wait.For != events.WaitForAgain || task.Wait.Until == nil {
		t.Errorf("it is %s and waits for %+v", task.Status, task.Wait)
	}
	status, err := w.client.Status(w.ctx)
	if err != nil || status.Kling == nil || status.Kling.AnsweredAt != nil || status.Kling.FailedAt == nil ||
		status.Kling.Failure != "connection refused" || status.Kling.Errors < 2 || status.Kling.Calls != status.Kling.Errors {
		t.Errorf("%+v, %v", status.Kling, err)
	}
}

// TestWaitsForALookup says the same of one whose create call may have made a task.
func TestWaitsForALookup(t *testing.T) {
	t.Parallel()
	ctx, mend := context.WithCancel(t.Context())
	broken := func() klingtest.Fault {
		if ctx.Err() != nil {
			return nil
		}
		return klingtest.Answer{HTTPStatus: http.StatusServiceUnavailable}
	}
	w := start(t, setup{sim: klingtest.Options{Faults: klingtest.Faults{
		Create: func(klingtest.CreateView) klingtest.Fault { return broken() },
		Query:  func(klingtest.QueryView) klingtest.Fault { return broken() },
	}}})
	w.submit("a", "a")
	if task := w.untilWaitsFor("a", `Kling: .+, [1-9]\d* (try|tries), next in \d+ s`); task.Status != events.StatusCreating {
		t.Errorf("it is %s", task.Status)
	}
	mend()
	w.eventually("Kling has answered", func() bool {
		status, err := w.client.Status(w.ctx)
		return err == nil && status.Kling != nil && status.Kling.AnsweredAt != nil && status.Kling.Errors > 0 &&
			status.Kling.Calls > status.Kling.Errors
	})
}
