package api

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// waitingTask describes a request in the stream.
func (a *API) waitingTask(w *request.Waiting) events.Task {
	r := w.Req
	deadline := events.At(r.Deadline)
	return events.Task{
		RequestID: r.ID, Kind: r.Kind.Name, Pool: string(r.Kind.Pool), Status: events.StatusWaiting,
		ExternalTaskID: r.ExternalID, Account: r.Account, RequestedAt: events.At(r.RequestedAt), Deadline: &deadline,
		Metadata: r.Metadata, ReplayOf: r.ReplayOf, TraceID: a.traceOf(w.Msg.Header),
	}
}

// traceOf is the id of the trace that a message's headers tell; empty: they tell none.
func (a *API) traceOf(h nats.Header) string {
	trace := a.Store.Telemetry.CarryHeaders(h)
	return trace.ID()
}

// waitsFor says what keeps a request from being sent, as far as this replica knows.
func (a *API) waitsFor(r *request.Request) dispatch.Wait {
	if again, ok := a.Pools[r.Kind.Pool].TriedAgain(r.Token); ok {
		return again
	}
	if reasons := a.Pauses.Held(r.Kind, r.Account); len(reasons) > 0 {
		return dispatch.Wait{For: events.WaitForPause, Text: "the end of a pause: " + strings.Join(reasons, "; ")}
	}
	return a.Pools[r.Kind.Pool].WaitsFor(r)
}

// recordTask describes a request in hand or in flight.
func (a *API) recordTask(rec *store.Record, processing bool) events.Task {
	task := events.Task{
		RequestID: rec.RequestID, Kind: rec.Kind, Pool: a.pool(rec.Kind), Status: events.StatusCreating,
		TaskID: rec.TaskID, ExternalTaskID: rec.ExternalTaskID, Account: rec.Account, RequestedAt: events.At(rec.RequestedAt),
		SubmittedAt: instant(rec.SubmittedAt), NextPollAt: instant(rec.NextPollAt), Deadline: instant(rec.Deadline),
		Metadata: rec.Metadata, ReplayOf: rec.ReplayOf, TraceID: rec.Trace.ID(), Tries: rec.Tries,
	}
	if task.Metadata == nil {
		task.Metadata = map[string]string{}
	}
	switch {
	case rec.State == store.StateRetrying:
		next := dispatch.Wait{For: events.WaitForTry, Until: rec.NextPollAt, Text: fmt.Sprintf("try %d of %d", rec.Try(), rec.Retries+1)}
		task.Status, task.NextPollAt = events.StatusRetrying, nil
		setWait(&task, next)
	case rec.State != store.StateSubmitted:
		setWait(&task, a.creatingWaitsFor(rec))
	case processing:
		task.Status = events.StatusProcessing
	default:
		task.Status = events.StatusSubmitted
	}
	return task
}

// creatingWaitsFor says what keeps a request from being a task whose create call may have made one.
func (a *API) creatingWaitsFor(rec *store.Record) dispatch.Wait {
	if pool, ok := a.Pools[kling.Pool(a.pool(rec.Kind))]; ok {
		if again, ok := pool.TriedAgain(rec.Token()); ok {
			return again
		}
	}
	text := fmt.Sprintf("an answer to its create call of %s; without one Kling is asked whether there is a task",
		rec.ClaimedAt.UTC().Format(time.TimeOnly))
	return dispatch.Wait{For: events.WaitForAnswer, Text: text}
}

func setWait(t *events.Task, w dispatch.Wait) {
	t.WaitsFor = w.Text
	t.Wait = &events.Wait{For: w.For, Until: instant(w.Until)}
}

// endedTask describes a request by its completion, or by its late event: their keys are those of a task.
func (a *API) endedTask(end *bus.Message) (events.Task, error) {
	var task events.Task
	if a.Store.Guarded().Foreign(end) {
		return task, fmt.Errorf("event on %s: no bridge has published it", end.Subject)
	}
	if err := json.Unmarshal(end.Data, &task); err != nil {
		return task, fmt.Errorf("event on %s: %w", end.Subject, err)
	}
	task.Pool, task.TraceID = a.pool(task.Kind), a.traceOf(end.Header)
	return task, nil
}

// listedEnded leaves the result out: a page has up to a thousand entries.
func (a *API) listedEnded(completion *bus.Message) (events.Task, error) {
	task, err := a.endedTask(completion)
	task.Result = nil
	return task, err
}

// pool is empty for a kind that is no longer in the table.
func (a *API) pool(kind string) string {
	k, _ := a.Kinds.Lookup(kind)
	return string(k.Pool)
}

// instant is nil for the zero time.
func instant(t time.Time) *events.Time {
	if t.IsZero() {
		return nil
	}
	at := events.At(t)
	return &at
}
