package bridge

import (
	"context"
	"maps"
	"strconv"

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

// maxReason keeps a dead letter's headers well within what a server takes.
const maxReason = 512

// bury stores the dead letter of a job, once.
func (d *deadLetters) bury(ctx context.Context, j *job, why *events.Error) error {
	subject := d.subjects.Dead(j.req.kind.Name, events.StatusRejected, j.req.token)
	msg := nats.NewMsg(subject)
	msg.Data = j.msg.Data()
	maps.Copy(msg.Header, j.msg.Headers())
	for _, own := range []string{jetstream.ExpectedLastSubjSeqHeader, jetstream.ExpectedLastSubjSeqSubjHeader,
		jetstream.ExpectedStreamHeader, jetstream.ExpectedLastSeqHeader, jetstream.ExpectedLastMsgIDHeader} {
		msg.Header.Del(own) // they spoke of the requests stream
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
