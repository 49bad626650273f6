package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// API answers what people and programs ask of the bridge, all of it from JetStream: any replica gives the same answer.
// Its methods return a [refusal] for what is the caller's fault. They may be called concurrently.
type API struct {
	Bus       *bus.Bus
	Store     *store.Store
	Waiting   *request.Stream
	Subjects  subjects.Subjects
	Namer     request.Namer
	Kinds     kling.Kinds
	Pools     map[kling.Pool]*dispatch.Pool
	Lanes     map[kling.Pool][]dispatch.Lane
	Pauses    dispatch.AccountPauses
	Readiness func() []dispatch.Reason
	Health    *kling.Health
	Version   string
	Log       *slog.Logger
}

// refusal is an answer that is no: its code is one of HTTP's.
type refusal struct {
	code    int
	message string
}

func (r *refusal) Error() string { return r.message }

// HTTPStatus is the status of the answer where it is one of HTTP.
func (r *refusal) HTTPStatus() int { return r.code }

func refusef(code int, format string, args ...any) error {
	return &refusal{code: code, message: fmt.Sprintf(format, args...)}
}

// refusedAs reports whether an error is a refusal with a code.
func refusedAs(err error, code int) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.code == code
}

func checkID(id string) error {
	if id == "" || len(id) > events.MaxRequestID || !utf8.ValidString(id) {
		return refusef(http.StatusBadRequest, "want a request id of 1 to %d bytes of UTF-8, got %d bytes", events.MaxRequestID, len(id))
	}
	return nil
}

// Get returns what is known of one request. 400: no request id; 404: nothing is known of it.
func (a *API) Get(ctx context.Context, id string) (events.TaskAnswer, error) {
	task, held, err := a.find(ctx, id)
	if err == nil {
		err = a.addBody(ctx, &task, held)
	}
	return events.TaskAnswer{Task: task}, err
}

// find is Get, and returns the request itself while it waits.
func (a *API) find(ctx context.Context, id string) (events.Task, *request.Waiting, error) {
	if err := checkID(id); err != nil {
		return events.Task{}, nil, err
	}
	token := events.Token(id)
	task, known, err := a.known(ctx, token)
	if known || err != nil {
		return task, nil, err
	}
	held, err := a.Waiting.Find(ctx, id)
	if err != nil {
		return events.Task{}, nil, err
	}
	// While the stream was read the request may have been taken off it, or into hand.
	task, known, err = a.known(ctx, token)
	switch {
	case known || err != nil:
		return task, nil, err
	case held == nil:
		return events.Task{}, nil, refusef(http.StatusNotFound, "nothing is known of a request %q", id)
	default:
		task := a.waitingTask(held)
		task.Before = &held.Before
		setWait(&task, a.waitsFor(held.Req))
		return task, held, nil
	}
}

// known returns the task of a request that a replica has taken in hand.
func (a *API) known(ctx context.Context, token string) (task events.Task, known bool, err error) {
	newest, err := a.Store.Guarded().Last(ctx, a.Subjects.EventsOf(token))
	if err != nil && !errors.Is(err, bus.ErrNoMessage) {
		return task, false, err
	}
	processing := false
	if newest != nil {
		p, _ := a.Subjects.Parse(newest.Subject)
		if p.Type != events.TypeProgress {
			return a.ended(ctx, token)
		}
		processing = p.Status == events.StatusProcessing
	}
	e, err := a.Store.Load(ctx, token)
	if errors.Is(err, bus.ErrNoMessage) { // it may have ended between the two reads
		return a.ended(ctx, token)
	}
	if err != nil {
		return task, false, err
	}
	return a.recordTask(e.Rec, processing), true, nil
}

func (a *API) ended(ctx context.Context, token string) (task events.Task, known bool, err error) {
	m, err := a.Store.Guarded().Last(ctx, a.Subjects.CompletionOf(token))
	if errors.Is(err, bus.ErrNoMessage) {
		return task, false, nil
	}
	if err != nil {
		return task, false, err
	}
	if task, err = a.endedTask(m); err != nil {
		return task, false, err
	}
	err = a.addLate(ctx, token, &task)
	return task, err == nil, err
}

// addLate adds what Kling delivered after the deadline.
func (a *API) addLate(ctx context.Context, token string, task *events.Task) error {
	if task.Status != events.StatusExpired && task.Status != events.StatusCancelled {
		return nil
	}
	m, err := a.Store.Guarded().Last(ctx, a.Subjects.LateOf(token))
	if errors.Is(err, bus.ErrNoMessage) {
		return nil
	}
	if err != nil {
		return err
	}
	late, err := a.endedTask(m)
	if err != nil {
		return err
	}
	task.Result = late.Result
	if late.Units != "" {
		task.Units = late.Units
	}
	return nil
}

// TokenOf returns the token of the request that an external task id was derived from, if it can be read from it.
func (a *API) TokenOf(externalTaskID string) (token string, ok bool) {
	return a.Namer.Token(externalTaskID)
}

// readers bounds the reads of one answer that are under way at a time.
const readers = 8

// parallel calls f for 0 to n-1, a few at a time, waits for all and returns the first error.
func parallel(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	next, errs := make(chan int), make(chan error, n)
	for range min(readers, n) {
		wg.Go(func() {
			for i := range next {
				if err := f(i); err != nil {
					errs <- err
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	close(errs)
	return <-errs
}

// oneLine keeps an error's text within a header.
func oneLine(err error) string { return strings.TrimSpace(request.HeaderSafe(err.Error())) }
