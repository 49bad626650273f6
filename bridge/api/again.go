package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// Again sends a request again that has ended, whatever its end, as a new one, named after it and a number: the first that
// is free. The members of set replace those of its body. 400: no request id, one that leaves no room for the number, or
// members that can't be set; 404: nothing is known of it; 409: it or its last replay has not ended, its body is not known,
// or not all of it, or it brought an external task id of its own and set has no other one.
//
// Those that race for a number get the same answer if they ask for the same; else one of them is refused.
func (a *API) Again(ctx context.Context, q events.AgainQuery) (events.Replayed, error) {
	id := q.RequestID
	task, _, err := a.find(ctx, id)
	if err != nil {
		return events.Replayed{}, err
	}
	if !task.Status.Terminal() {
		return events.Replayed{}, refusef(http.StatusConflict, "request %q has not ended, it is %s", id, task.Status)
	}
	as, err := a.freeReplay(ctx, id, func(events.Task) error { return nil })
	if err != nil {
		return events.Replayed{}, err
	}
	o, err := a.changed(ctx, &task, q.Set)
	if err != nil {
		return events.Replayed{}, err
	}
	msg, err := a.replayMsg(task.Kind, o, id, as)
	if err != nil {
		return events.Replayed{}, err
	}
	if largest := a.Bus.MaxPayload() - request.Room; int64(len(msg.Data)) > largest {
		return events.Replayed{}, refusef(http.StatusBadRequest, "set: the body would be %d bytes, want at most %d",
			len(msg.Data), largest)
	}
	ack, err := a.Bus.Publish(ctx, msg)
	if err != nil {
		return events.Replayed{}, fmt.Errorf("send request %q again: %w", id, err)
	}
	if !ack.Stored {
		err = a.sameRequest(ctx, ack.Duplicate, msg)
	}
	return events.Replayed{RequestID: as}, err
}

// changed is an ended request as it came, with members of its body replaced.
func (a *API) changed(ctx context.Context, task *events.Task, set map[string]json.RawMessage) (*store.Original, error) {
	o, err := a.original(ctx, task, nil)
	if err != nil {
		return nil, err
	}
	if why := notWhole(task, o); why != nil {
		return nil, why
	}
	kind, ok := a.Kinds.Lookup(task.Kind)
	if !ok {
		return nil, refusef(http.StatusBadRequest, "kind: there is no kind %q any more", task.Kind)
	}
	old := request.OwnExternalID(kind, o.Body)
	if len(set) > 0 {
		body, err := request.Replace(o.Body, set)
		if err != nil {
			return nil, refusef(http.StatusBadRequest, "set: %s", err)
		}
		o = &store.Original{Priority: o.Priority, Header: o.Header, Body: body}
	}
	own := request.OwnExternalID(kind, o.Body)
	if old != "" && (own == "" || own == old) {
		return nil, refusef(http.StatusConflict,
			"request %q brought the external_task_id %q along, which Kling takes once: set another one", task.RequestID, old)
	}
	return o, nil
}

// notWhole refuses a request whose body is not known, or not all of it.
func notWhole(task *events.Task, o *store.Original) error {
	switch {
	case o == nil && task.TaskID == "" && task.ExternalTaskID == "":
		return refusef(http.StatusConflict, "the body of request %q is not known: nothing was sent of it, and the stream of events had no"+
			" room to spare for its body, or an earlier release ended it; publish it anew, under another id", task.RequestID)
	case o == nil:
		return refusef(http.StatusConflict, "the body of request %q is not known", task.RequestID)
	case !o.Whole():
		return refusef(http.StatusConflict, "request %q expired before anything was sent of it, and of its %d bytes only the beginning"+
			" is kept, as they are more than %d; publish it anew, under another id", task.RequestID, o.Bytes, store.MaxExpired)
	default:
		return nil
	}
}

// sameRequest refuses a request that another one was stored in place of, a moment ago: two have asked at once. Where that
// one has left the stream already, it is taken for the same.
func (a *API) sameRequest(ctx context.Context, seq uint64, msg *nats.Msg) error {
	m, err := a.Bus.Next(ctx, a.Subjects.RequestsStream(), a.Subjects.AllRequests(), seq)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && (m.Seq != seq || bytes.Equal(m.Data, msg.Data)) {
		return nil
	}
	if err != nil {
		return err
	}
	return refusef(http.StatusConflict, "replay %q has not ended: somebody else has just asked for it, with another body",
		msg.Header.Get(events.HeaderRequestID))
}
