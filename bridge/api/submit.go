package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
	eventbody "github.com/klingbridge/klingbridge/events/body"
)

// Submit publishes a request for a person, and returns its id. 400: no such kind, or what can't be published; 409: there is a
// request of that id, or has been.
func (a *API) Submit(ctx context.Context, kind string, body json.RawMessage, o events.Options) (id string, err error) {
	if _, known := a.Kinds.Lookup(kind); !known {
		return "", refusef(http.StatusBadRequest, "kind: there is no kind %q", kind)
	}
	msg, err := events.NewRequest(a.Subjects.Subjects, eventbody.Raw(kind, body), o)
	if err != nil {
		return "", refusef(http.StatusBadRequest, "%s", err)
	}
	if largest := a.Bus.MaxPayload() - request.Room; int64(len(msg.Data)) > largest {
		return "", refusef(http.StatusBadRequest, "the body has %d bytes, want at most %d", len(msg.Data), largest)
	}
	id = msg.Header.Get(events.HeaderRequestID)
	switch task, _, err := a.find(ctx, id); {
	case err == nil:
		return "", refusef(http.StatusConflict, "there is a request %q, it is %s", id, task.Status)
	case !refusedAs(err, http.StatusNotFound):
		return "", err
	}
	ack, err := a.Bus.Publish(ctx, msg)
	if err != nil {
		return "", fmt.Errorf("publish request %q: %w", id, err)
	}
	if !ack.Stored {
		return "", refusef(http.StatusConflict, "a request %q was published a moment ago", id)
	}
	return id, nil
}
