package api

import (
	"context"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/events"
)

// maxShownBody is what an answer shows of a request's body, in bytes.
const maxShownBody = 4 << 10

// shown is a body as an answer shows it.
func shown(body []byte) string {
	if len(body) > maxShownBody {
		body = body[:maxShownBody]
		for n := 1; n < utf8.UTFMax; n++ { // half a character at the end is none
			if start := body[len(body)-n:]; utf8.RuneStart(start[0]) {
				if !utf8.FullRune(start) {
					body = body[:len(body)-n]
				}
				break
			}
		}
	}
	return strings.ToValidUTF8(string(body), "\uFFFD")
}

// addBody adds what was asked for, where that is known.
func (a *API) addBody(ctx context.Context, task *events.Task, held *request.Waiting) error {
	o, err := a.original(ctx, task, held)
	if err != nil || o == nil {
		return err
	}
	task.Body, task.BodyBytes = shown(o.Body), o.Bytes
	return nil
}

// Body returns what a request asked for, whole and as it came; nil: it is not known, or not all of it. 400: no request id.
func (a *API) Body(ctx context.Context, id string) ([]byte, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	token := events.Token(id)
	for _, find := range []func(context.Context, string) (*store.Original, error){a.Store.Original, a.Store.DeadOriginal} {
		o, err := find(ctx, token)
		if err == nil && !o.Whole() {
			return nil, nil
		}
		if err == nil {
			return o.Body, nil
		}
		if !errors.Is(err, bus.ErrNoMessage) {
			return nil, err
		}
	}
	held, err := a.Waiting.ByToken(ctx, token)
	if held == nil || err != nil {
		return nil, err
	}
	return held.Msg.Data, nil
}

// original returns a request as it came: from the stream, where held is the message if it is known; as it was kept when it
// left the stream; or from its dead letter. It is nil for one that an older version of the bridge handled, and for a task
// that was made outside the bridge.
func (a *API) original(ctx context.Context, task *events.Task, held *request.Waiting) (*store.Original, error) {
	if held != nil {
		return store.OriginalOf(held), nil
	}
	token := events.Token(task.RequestID)
	o, err := a.kept(ctx, task.Status, token)
	if o != nil || err != nil {
		return o, err
	}
	held, err = a.Waiting.ByToken(ctx, token) // events come before the ack
	if err != nil {
		return nil, err
	}
	if held != nil && events.At(held.Req.RequestedAt).Equal(task.RequestedAt.Time) {
		return store.OriginalOf(held), nil
	}
	return a.kept(ctx, task.Status, token) // it may have left the stream meanwhile
}

// kept is nil where nothing was kept.
func (a *API) kept(ctx context.Context, status events.Status, token string) (*store.Original, error) {
	find := a.Store.Original
	if status == events.StatusRejected {
		find = a.Store.DeadOriginal
	}
	o, err := find(ctx, token)
	if errors.Is(err, bus.ErrNoMessage) {
		return nil, nil
	}
	return o, err
}
