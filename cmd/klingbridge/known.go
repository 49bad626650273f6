package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// knownTimeout bounds the look for an earlier request: what it finds is only good to know.
const knownTimeout = time.Second

// findKnown says on stderr when the id is that of an earlier request, for which nothing new is created. The error is
// one of another kind: its result is surely not what is asked for.
func (p *program) findKnown(ctx context.Context, nc *link, r request, s settings) (bool, error) {
	if r.ID == "" {
		return false, nil
	}
	earlier, found := lastEvent(ctx, nc, s.subjects, r.ID)
	switch {
	case !found:
		return false, nil
	case earlier.Kind != r.kind:
		return true, otherKind(earlier)
	default:
		fmt.Fprintf(p.stderr, "request %s was sent before, at %s; its status is %s and nothing new is created\n",
			printable(r.ID), earlier.RequestedAt, earlier.Status)
		return true, nil
	}
}

func otherKind(earlier events.Event) error {
	return fmt.Errorf("request id %q is that of an earlier request, of kind %s at %s: choose another one",
		earlier.RequestID, earlier.Kind, earlier.RequestedAt)
}

// lastEvent returns the completion of a request, else its last progress. Where events can't be read, for want of a
// stream, a permission or time, it finds nothing.
func lastEvent(ctx context.Context, nc *link, s events.Subjects, id string) (ev events.Event, found bool) {
	ctx, cancel := context.WithTimeout(ctx, knownTimeout)
	defer cancel()
	stream, err := nc.js.Stream(ctx, s.EventsStream())
	if err != nil {
		return ev, false
	}
	for _, subject := range []string{s.CompletionOf(events.Token(id)), s.Progress("*", "*", events.Token(id))} {
		msg, err := stream.GetLastMsgForSubject(ctx, subject)
		if err == nil && json.Unmarshal(msg.Data, &ev) == nil {
			return ev, true
		}
	}
	return ev, false
}
