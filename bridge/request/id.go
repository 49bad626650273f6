package request

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// identify finds the request id: header, message id, the body's own external_task_id, or one made from the message's
// place in the stream. The time is part of the latter because a stream that is made anew counts from one again.
func (r *Request) identify(raw Raw) error {
	r.ID = GivenID(raw.Header)
	if r.ID == "" {
		r.ID = r.ExternalID
	}
	if r.ID == "" {
		r.ID = fmt.Sprintf("seq-%d-%s", raw.Sequence, strconv.FormatInt(raw.StoredAt.UnixMilli(), 36))
	}
	given := r.ID
	r.ID = usableID(given)
	r.Token = events.Token(r.ID)
	if r.ID != given {
		return fmt.Errorf("request id: want 1 to %d bytes of UTF-8, got %d bytes", events.MaxRequestID, len(given))
	}
	return nil
}

// GivenID is the request id that headers name, or empty.
func GivenID(h nats.Header) string {
	if id := h.Get(events.HeaderRequestID); id != "" {
		return id
	}
	return h.Get(jetstream.MsgIDHeader)
}

// usableID returns the id itself where it can be one.
func usableID(given string) string {
	if utf8.ValidString(given) && len(given) <= events.MaxRequestID {
		return given
	}
	return presentable(given)
}

// replayOf returns which request a replay says it replays. What can't be a request id is nobody's.
func replayOf(h nats.Header) string {
	id := h.Get(events.HeaderReplayOf)
	if len(id) > events.MaxRequestID || !utf8.ValidString(id) {
		return ""
	}
	return id
}

// presentable makes an id that can't be used into one that can, and keeps different ones different.
func presentable(id string) string {
	const readable = 64
	return strings.ToValidUTF8(id[:min(len(id), readable)], "_") + "-" + hash(id, 32)
}
