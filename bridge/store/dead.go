package store

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// deadLetters keeps requests that never became a task, as they came, with the reason in their headers.
type deadLetters struct {
	Guarded  Guarded
	subjects subjects.Subjects
	metrics  *Metrics
}

// NewDeadLetters keeps them in the stream of dead letters.
func NewDeadLetters(b *bus.Bus, s subjects.Subjects, m *Metrics, log *slog.Logger) *deadLetters {
	return &deadLetters{Guarded: Guarded{bus: b, dead: true, subjects: s, log: log}, subjects: s, metrics: m}
}

// copyHeaders keeps the request's headers, as far as a message has room for them and for the reason.
func copyHeaders(to, from nats.Header) {
	room, omitted := maxHeaders, 0
	for _, name := range slices.Sorted(maps.Keys(from)) {
		if ForServer(name) || name == request.HeaderFence {
			continue
		}
		size := 0
		for _, value := range from[name] {
			size += len(name) + len(value) + len(": \r\n")
		}
		if size > room {
			omitted++
			continue
		}
		room -= size
		to[name] = from[name]
	}
	if omitted > 0 {
		to.Set(events.HeaderErrorOmitted, strconv.Itoa(omitted))
	}
}

// maxHeaders is what a dead letter keeps of headers, in bytes: JetStream takes 64 KiB of them.
const maxHeaders = 48 << 10

// ForServer tells headers that told the server what to do with the request. They would do the same to the dead letter:
// replace others, expire, or have it refused.
func ForServer(name string) bool {
	return len(name) >= len(serverPrefix) && strings.EqualFold(name[:len(serverPrefix)], serverPrefix)
}

const serverPrefix = "Nats-"

// maxReason keeps a dead letter's headers well within what a server takes.
const maxReason = 512

// Bury stores the dead letter of a request, once. header and data are the request as it came.
func (d *deadLetters) Bury(ctx context.Context, r *request.Request, header nats.Header, data []byte, why *events.Error) error {
	subject := d.subjects.Dead(r.Kind.Name, events.StatusRejected, r.Token)
	msg := nats.NewMsg(subject)
	msg.Data = data
	copyHeaders(msg.Header, header)
	msg.Header.Set(jetstream.MsgIDHeader, r.Token+".dead")
	msg.Header.Set(events.HeaderRequestID, request.HeaderSafe(r.ID))
	msg.Header.Set(events.HeaderErrorClass, string(why.Class))
	msg.Header.Set(events.HeaderErrorCode, strconv.Itoa(why.Code))
	msg.Header.Set(events.HeaderErrorHTTPStatus, strconv.Itoa(why.HTTPStatus))
	msg.Header.Set(events.HeaderErrorMessage, request.HeaderSafe(request.ClipTo(why.Message, maxReason)))
	msg.Header.Set(events.HeaderErrorRetryable, strconv.FormatBool(why.Retryable))
	if r.Priority != events.PriorityNormal {
		msg.Header.Set(events.HeaderErrorPriority, string(r.Priority))
	} else {
		msg.Header.Del(events.HeaderErrorPriority) // of the sender's making
	}
	bus.GuardSequence(msg, d.subjects.DeadOf(r.Token), 0)

	ctx, cancel := context.WithTimeout(ctx, PublishTimeout)
	defer cancel()
	ack, err := d.Guarded.publish(ctx, msg)
	if ack.Stored {
		d.metrics.buried(ctx, why.Class)
	}
	return err
}
