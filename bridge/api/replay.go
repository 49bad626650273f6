package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// replayID is the request id of the n-th replay.
func replayID(id string, n int) string { return fmt.Sprintf("%s-r%d", id, n) }

// Replay publishes the request of a dead letter as a new one, named after it and a number: the first that is free. 400:
// no request id, or one that leaves no room for the number; 404: there is no such dead letter; 409: its last replay has
// not ended, or has succeeded: asking again after a lost answer does not pay again.
//
// Replays that race publish the same request, which is stored once and in any case becomes one task.
func (a *API) Replay(ctx context.Context, id string) (events.Replayed, error) {
	if err := checkID(id); err != nil {
		return events.Replayed{}, err
	}
	dead, err := a.Store.Dead.Guarded.Last(ctx, a.Subjects.DeadOf(events.Token(id)))
	if errors.Is(err, bus.ErrNoMessage) {
		return events.Replayed{}, refusef(http.StatusNotFound, "there is no dead letter of a request %q", id)
	}
	if err != nil {
		return events.Replayed{}, err
	}
	as, err := a.freeReplay(ctx, id, refuseSucceeded)
	if err != nil {
		return events.Replayed{}, err
	}
	parsed, _ := a.Subjects.Parse(dead.Subject)
	msg, err := a.replayMsg(parsed.Kind, store.DeadOriginalOf(dead), id, as)
	if err != nil {
		return events.Replayed{}, err
	}
	if _, err := a.Bus.Publish(ctx, msg); err != nil {
		return events.Replayed{}, fmt.Errorf("replay request %q: %w", id, err)
	}
	return events.Replayed{RequestID: as}, nil
}

// refuseSucceeded is why there is no further replay of a dead letter after one that succeeded: asking again after a lost
// answer does not pay again.
func refuseSucceeded(replay events.Task) error {
	if replay.Status == events.StatusSucceed {
		return refusef(http.StatusConflict, "replay %q has succeeded", replay.RequestID)
	}
	return nil
}

// freeReplay returns the id of the first replay that was not asked for yet, if all before it have ended and none of them is
// refused.
func (a *API) freeReplay(ctx context.Context, id string, refuse func(replay events.Task) error) (string, error) {
	for n := 1; ; n++ {
		as := replayID(id, n)
		if len(as) > events.MaxRequestID {
			return "", refusef(http.StatusBadRequest, "request id %q and its number would be %d bytes, want at most %d",
				id, len(as), events.MaxRequestID)
		}
		task, _, err := a.find(ctx, as)
		switch {
		case refusedAs(err, http.StatusNotFound):
			return as, nil
		case err != nil:
			return "", err
		case !task.Status.Terminal():
			return "", refusef(http.StatusConflict, "replay %q has not ended, it is %s", as, task.Status)
		}
		if err := refuse(task); err != nil {
			return "", err
		}
	}
}

// replayMsg is a request as it came, but for its id and what was said to and by the server.
func (a *API) replayMsg(kind string, o *store.Original, id, as string) (*nats.Msg, error) {
	if _, known := a.Kinds.Lookup(kind); !known {
		return nil, refusef(http.StatusBadRequest, "kind: there is no kind %q any more", kind)
	}
	msg := nats.NewMsg(a.Subjects.Request(kind, o.Priority))
	msg.Data = o.Body
	for name, values := range o.Header {
		if !store.ForServer(name) && !strings.HasPrefix(name, events.HeaderErrorPrefix) {
			msg.Header[name] = values
		}
	}
	for name, value := range map[string]string{
		events.HeaderRequestID: as, events.HeaderReplayOf: id, jetstream.MsgIDHeader: as,
	} {
		deleteAnyCase(msg.Header, name)
		msg.Header.Set(name, value)
	}
	return msg, nil
}

// deleteAnyCase removes a header however it is spelled.
func deleteAnyCase(h nats.Header, name string) {
	for spelled := range h {
		if strings.EqualFold(spelled, name) {
			h.Del(spelled)
		}
	}
}
