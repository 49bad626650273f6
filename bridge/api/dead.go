package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// DeadList returns one page of dead letters, newest first. 400: a query that makes no sense.
func (a *API) DeadList(ctx context.Context, q events.PageQuery) (events.DeadList, error) {
	p, err := newPage[events.DeadLetter](q, sectionDead, sectionDead)
	if err != nil {
		return events.DeadList{}, err
	}
	err = addNewest(ctx, a, a.Subjects.DeadStream(), a.Subjects.AllDead(), time.Time{}, p, a.deadLetter)
	if err == nil {
		err = a.markReplayed(ctx, p.entries)
	}
	if err != nil {
		return events.DeadList{}, fmt.Errorf("list dead letters: %w", err)
	}
	dead, cursor, err := p.close(!p.full(), a.Bus.MaxPayload())
	return events.DeadList{Dead: dead, Cursor: cursor}, err
}

func (a *API) deadLetter(m *bus.Message) (*events.DeadLetter, error) {
	parsed, ok := a.Subjects.Parse(m.Subject)
	if !ok || a.Store.Dead.Guarded.Foreign(m) {
		return nil, errors.New("not a dead letter")
	}
	number := func(header string) int {
		n, _ := strconv.Atoi(m.Header.Get(header)) // 0 where there is none
		return n
	}
	return &events.DeadLetter{
		RequestID: m.Header.Get(events.HeaderRequestID),
		Kind:      parsed.Kind,
		Status:    parsed.Status,
		DiedAt:    events.At(m.Time),
		Error: events.Error{
			Class:      events.ErrorClass(m.Header.Get(events.HeaderErrorClass)),
			Code:       number(events.HeaderErrorCode),
			HTTPStatus: number(events.HeaderErrorHTTPStatus),
			Message:    m.Header.Get(events.HeaderErrorMessage),
			Retryable:  m.Header.Get(events.HeaderErrorRetryable) == "true",
		},
		Metadata: events.Metadata(m.Header),
		Payload:  shown(m.Data),
		Bytes:    len(m.Data),
	}, nil
}

// Dismiss deletes a dead letter. That its request was rejected stays known, which is what keeps it from being made twice; its
// body goes, so that it can't be sent again. 400: no request id; 404: there is no such dead letter; 409: its request has not
// ended yet, and the letter may be all that is known of why.
func (a *API) Dismiss(ctx context.Context, id string) error {
	if err := checkID(id); err != nil {
		return err
	}
	dead, err := a.Store.Dead.Guarded.Last(ctx, a.Subjects.DeadOf(events.Token(id)))
	if errors.Is(err, bus.ErrNoMessage) {
		return refusef(http.StatusNotFound, "there is no dead letter of a request %q", id)
	}
	if err != nil {
		return err
	}
	task, _, err := a.find(ctx, id)
	switch {
	case refusedAs(err, http.StatusNotFound): // its completion has aged out before it
	case err != nil:
		return err
	case !task.Status.Terminal():
		return refusef(http.StatusConflict, "request %q has not ended, it is %s", id, task.Status)
	}
	if err := a.Bus.Delete(ctx, a.Subjects.DeadStream(), dead.Seq); err != nil {
		return fmt.Errorf("dismiss the dead letter of request %q: %w", id, err)
	}
	return nil
}

// markReplayed notes which dead letters have been replayed: their first replay is known, or in the stream.
func (a *API) markReplayed(ctx context.Context, dead []events.DeadLetter) error {
	err := parallel(len(dead), func(i int) error {
		token := events.Token(replayID(dead[i].RequestID, 1))
		_, err := a.Store.Guarded().Last(ctx, a.Subjects.AnythingOf(token))
		dead[i].Replayed = err == nil
		if errors.Is(err, bus.ErrNoMessage) {
			return nil
		}
		return err
	})
	if err != nil || len(dead) == 0 {
		return err
	}
	waiting := map[string]bool{}
	err = a.Bus.Scan(ctx, a.Subjects.RequestsStream(), a.Subjects.AllRequests(), 1, request.ScanBatch, func(m *bus.Message) bool {
		if m.Header.Get(events.HeaderReplayOf) != "" {
			waiting[request.GivenID(m.Header)] = true
		}
		return true
	})
	for i := range dead {
		if waiting[replayID(dead[i].RequestID, 1)] {
			dead[i].Replayed = true
		}
	}
	return err
}
