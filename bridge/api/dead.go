package api

import (
	"context"
	"errors"
	"fmt"
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
