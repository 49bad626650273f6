package bridge

import (
	"context"
	"errors"
	"fmt"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
)

// limits says which stream is too full to take requests or events in.
func (w *watch) limits(ctx context.Context) []dispatch.Reason {
	const component = "nats"
	var found []dispatch.Reason
	if full := w.requestsFull(ctx); full != "" {
		found = append(found, dispatch.Reason{Component: component, Reason: full})
	}
	if err := w.bus.AskRoom(ctx); errors.Is(err, bus.ErrFull) {
		found = append(found, dispatch.Reason{Component: component, Reason: err.Error()})
	}
	return found
}

// smallRequest is what a request takes at least, in bytes, with its subject and headers.
const smallRequest = 256

// requestsFull says that requests are refused for want of room, if they are.
func (w *watch) requestsFull(ctx context.Context) string {
	s, err := w.bus.JetStream().Stream(ctx, w.subjects.RequestsStream())
	if err != nil {
		return ""
	}
	have, state := s.CachedInfo().Config, s.CachedInfo().State
	switch {
	case have.MaxMsgs > 0 && state.Msgs >= uint64(have.MaxMsgs):
		return fmt.Sprintf("stream %s is full: it holds %d of %d messages, and refuses more", have.Name, state.Msgs, have.MaxMsgs)
	case have.MaxBytes > 0 && state.Bytes+smallRequest > uint64(have.MaxBytes):
		return fmt.Sprintf("stream %s is full: it holds %d of %d bytes, and refuses more", have.Name, state.Bytes, have.MaxBytes)
	default:
		return ""
	}
}
