package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// Guarded is a stream that holds messages about requests, on subjects where only the bridge may publish. Others get a
// message there all the same, within the bridge's own NATS account: whoever may publish anything that is stored can name
// such a subject as the reply subject, and the server sends its answer there, which is bound by no permission. What it
// says is the server's, not theirs, but a guard takes it for a message of the bridge's, and a timer ends with it.
//
// Such a message is foreign. It is removed where it is met, by its sequence, so that any number of replicas may do so at
// once.
type Guarded struct {
	bus      *bus.Bus
	dead     bool // it is that of dead letters
	subjects subjects.Subjects
	log      *slog.Logger
}

// Guarded is where the ledger is.
func (s *Store) Guarded() Guarded {
	return Guarded{bus: s.Bus, subjects: s.Subjects, log: s.Log}
}

func (s Guarded) stream() string {
	if s.dead {
		return s.subjects.DeadStream()
	}
	return s.subjects.EventsStream()
}

const (
	// maxRemoved bounds the foreign messages that are removed in one go. Who put more there has to be met again.
	maxRemoved = 1000
	// maxWays bounds how often a message is published that only foreign ones were in the way of.
	maxWays = 10
)

// errForeign is returned while foreign messages keep coming.
var errForeign = errors.New("messages of somebody else's are in the way")

// errGone is returned until the duplicate window is over: the stream refuses a message that it does not hold.
var errGone = errors.New("a message with this id was stored within the duplicate window and is gone: deleted or purged")

// Foreign reports whether a message was not published by a bridge: neither a message id of the bridge's, nor a header,
// nor its body names the request of its subject. A server's answer has no headers at all, so what has some that can't be
// read is not one.
func (s Guarded) Foreign(m *bus.Message) bool {
	p, known := s.subjects.Parse(m.Subject)
	if !known { // a newer version's, if its body says so
		p.Token = m.Subject[strings.LastIndexByte(m.Subject, '.')+1:]
	}
	var body struct { // what every version of an event or a record has
		RequestID string `json:"request_id"`
		Kind      string `json:"kind"`
	}
	switch {
	case known && (ownMessageID(p, m.Header.Get(jetstream.MsgIDHeader)) || isRecordOf(p, m.Data)):
		return false
	case m.Garbled, events.Token(m.Header.Get(events.HeaderRequestID)) == p.Token:
		return false
	case json.Unmarshal(m.Data, &body) != nil || body.RequestID == "":
		return true
	default:
		return events.Token(body.RequestID) != p.Token || known && body.Kind != p.Kind
	}
}

// ownMessageID reports whether a message id is one that the bridge gives to what it stores on a subject.
func ownMessageID(p subjects.Parsed, id string) bool {
	return id == p.Token+"."+string(p.Type) || id == p.Token+"."+string(p.Status) ||
		strings.HasPrefix(id, p.Token+"."+string(p.Type)+".") // of several that follow each other
}

// isRecordOf tells most records of the request from other messages by how they begin. Whoever wants a record reads it whole once.
func isRecordOf(p subjects.Parsed, data []byte) bool {
	_, afterVersion, _ := bytes.Cut(data, []byte(","))
	return bytes.HasPrefix(data, []byte(`{"v":`)) && bytes.HasPrefix(afterVersion, []byte(`"request_id":"`+p.Token+`","kind":"`+p.Kind+`",`))
}

// Last returns the newest message on filter that is the bridge's, as the stream's leader knows it, or bus.ErrNoMessage.
// Foreign ones after it are removed.
func (s Guarded) Last(ctx context.Context, filter string) (*bus.Message, error) {
	for range maxRemoved {
		m, err := s.bus.Last(ctx, s.stream(), filter)
		if err != nil || !s.Foreign(m) {
			return m, err
		}
		if err := s.Remove(ctx, m.Subject, m.Seq); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%s of stream %s: %w", filter, s.stream(), errForeign)
}

// LastDirect is Last as any server of the stream knows it, which may be behind. Where that fails the leader is asked.
func (s Guarded) LastDirect(ctx context.Context, subject string) (*bus.Message, error) {
	m, err := s.bus.LastDirect(ctx, s.stream(), subject)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && !s.Foreign(m) {
		return m, err
	}
	return s.Last(ctx, subject)
}

// Remove deletes a foreign message. That another replica was faster is no error.
func (s Guarded) Remove(ctx context.Context, subject string, seq uint64) error {
	if err := s.bus.Delete(ctx, s.stream(), seq); err != nil {
		return err
	}
	s.log.ErrorContext(ctx, "removed a message that no bridge has published", slog.String("stream", s.stream()),
		slog.String("subject", subject), slog.Uint64("sequence", seq))
	return nil
}

// publish stores a guarded message. When it is refused and what was in its way was foreign, it is published again.
func (s Guarded) publish(ctx context.Context, msg *nats.Msg) (bus.Ack, error) {
	var gone uint64
	for range maxWays {
		ack, err := s.bus.Publish(ctx, msg)
		if ack.Stored || err != nil && !errors.Is(err, bus.ErrNoTimer) {
			return ack, err
		}
		free, lookErr := s.wayIsFree(ctx, msg, err)
		if lookErr != nil { // whether it is stored is not known
			return bus.Ack{}, fmt.Errorf("publish %s: %w: %w", msg.Subject, bus.ErrUnavailable, lookErr)
		}
		if !free {
			return ack, err
		}
		gone = ack.Duplicate
	}
	if gone != 0 {
		return bus.Ack{}, fmt.Errorf("publish %s: %w: %w (%s, sequence %d of stream %s)", msg.Subject,
			bus.ErrUnavailable, errGone, msg.Header.Get(jetstream.MsgIDHeader), gone, s.stream())
	}
	return bus.Ack{}, fmt.Errorf("publish %s: %w: %w", msg.Subject, bus.ErrUnavailable, errForeign)
}

// wayIsFree reports whether a message that was refused would be stored now: there is no other thing where its timer
// should be, or its guard finds what it wants to find.
func (s Guarded) wayIsFree(ctx context.Context, msg *nats.Msg, refused error) (bool, error) {
	filter := msg.Header.Get(jetstream.ExpectedLastSubjSeqSubjHeader)
	if refused != nil {
		filter = msg.Header.Get(jetstream.SchedulerHeader)
	}
	var seq uint64
	m, err := s.Last(ctx, filter)
	switch {
	case err == nil:
		seq = m.Seq
	case !errors.Is(err, bus.ErrNoMessage):
		return false, err
	}
	return refused != nil || strconv.FormatUint(seq, 10) == msg.Header.Get(jetstream.ExpectedLastSubjSeqHeader), nil
}
