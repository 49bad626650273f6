package bridge

import (
	"context"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/events"
)

// deadLetters keeps requests that never became a task, as they came, with the reason in their headers.
type deadLetters struct {
	bus      *bus.Bus
	subjects events.Subjects
}

// forServer tells headers that told the server what to do with the request. They would do the same to the dead letter:
// replace others, expire, or have it refused.
func forServer(name string) bool {
	return len(name) >= len(serverPrefix) && strings.EqualFold(name[:len(serverPrefix)], serverPrefix)
}

const serverPrefix = "Nats-"

// maxReason keeps a dead letter's headers well within what a server takes.
const maxReason = 512

// bury stores the dead letter of a job, once.
func (d *deadLetters) bury(ctx context.Context, j *job, why *events.Error) error {
	subject := d.subjects.Dead(j.req.kind.Name, events.StatusRejected, j.req.token)
	msg := nats.NewMsg(subject)
	msg.Data = j.msg.Data()
	for name, values := range j.msg.Headers() {
		if !forServer(name) {
			msg.Header[name] = values
		}
	}
	msg.Header.Set(jetstream.MsgIDHeader, j.req.token+".dead")
	msg.Header.Set(events.HeaderRequestID, headerSafe(j.req.id))
	msg.Header.Set(events.HeaderErrorClass, string(why.Class))
	msg.Header.Set(events.HeaderErrorCode, strconv.Itoa(why.Code))
	msg.Header.Set(events.HeaderErrorHTTPStatus, strconv.Itoa(why.HTTPStatus))
	msg.Header.Set(events.HeaderErrorMessage, headerSafe(clipTo(why.Message, maxReason)))
	bus.GuardSequence(msg, subject, 0)

	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err := d.bus.Publish(ctx, msg)
	return err
}
