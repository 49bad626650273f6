package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// NoteExternalID stores that an external task id is one that a request of the bridge's brought along, or was made of one for a
// further try, to be found by that id. It precedes the record, and so the task: a task that Kling knows by such an id is never taken for somebody else's.
// A request that is called like its external id needs none, as all that is known of it is found by that.
//
// Where the id is that of another request, it returns that one's id and stores nothing: one must not get the other's task.
// A request that has ended without a task leaves its id to others.
func (s *Store) NoteExternalID(ctx context.Context, r *request.Request, id string) (holder string, err error) {
	token := events.Token(id)
	if id == "" {
		return "", nil
	}
	if token != r.Token {
		if held, err := s.holds(ctx, token, id); held || err != nil {
			return id, err
		}
	}
	holder, seq, err := s.externalIDNote(ctx, id)
	if err != nil || holder == request.HeaderSafe(r.ID) {
		return "", err
	}
	if holder != "" {
		if held, err := s.holds(ctx, events.Token(holder), id); held || err != nil {
			return holder, err
		}
	}
	if token == r.Token {
		return "", nil
	}
	return "", s.writeExternalID(ctx, token, r.ID, seq)
}

// writeExternalID stores who holds an external id, unless a note was stored after the one of that sequence.
func (s *Store) writeExternalID(ctx context.Context, token, holder string, seq uint64) error {
	msg := nats.NewMsg(s.Subjects.Put(s.Subjects.External(token)))
	// Its own each time: JetStream would take the next note of the same name for a repeat, of another holder's or of one that
	// is lost.
	msg.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%s.external.%s", token, rand.Text()))
	msg.Header.Set(events.HeaderRequestID, request.HeaderSafe(holder))
	bus.GuardSequence(msg, s.Subjects.External(token), seq)
	_, stored, err := s.put(ctx, msg)
	if err == nil && !stored { // somebody has been faster, or the ack was lost: it shows next time
		err = errNoteMoved
	}
	return err
}

var errNoteMoved = errors.New("the note of an external task id has changed")

// holds reports whether the request of that token has, or may yet have, a task by the external id.
func (s *Store) holds(ctx context.Context, token, externalID string) (bool, error) {
	_, ended, err := s.Completion(ctx, token)
	switch {
	case err == nil:
		return ended.TaskID != "" && ended.ExternalTaskID == externalID || among(ended.Tries, "", externalID), nil
	case !errors.Is(err, bus.ErrNoMessage):
		return false, err
	}
	e, err := s.Load(ctx, token)
	if errors.Is(err, bus.ErrNoMessage) {
		return false, nil
	}
	return err == nil && (e.Rec.ExternalTaskID == externalID || among(e.Rec.Tries, "", externalID)), err
}

// externalIDNote returns the id of the request that brought an external task id along; empty: none did.
func (s *Store) externalIDNote(ctx context.Context, externalID string) (holder string, seq uint64, err error) {
	m, err := s.Guarded().Last(ctx, s.Subjects.External(events.Token(externalID)))
	if errors.Is(err, bus.ErrNoMessage) {
		return "", 0, nil
	}
	if err != nil {
		return "", 0, err
	}
	return m.Header.Get(events.HeaderRequestID), m.Seq, nil
}

// NotedExternalID reports whether a request brought this external task id along.
func (s *Store) NotedExternalID(ctx context.Context, id string) (bool, error) {
	if id == "" {
		return false, nil
	}
	_, seq, err := s.externalIDNote(ctx, id)
	return seq != 0, err
}
