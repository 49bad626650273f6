package events

import (
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsPrefix begins the headers that mean something to the server.
const natsPrefix = "Nats-"

// PassOn returns the headers of an event that can be published again, to another stream or subject: all but those that tell
// the server how to store this one. An event is stored under a condition and takes its timer away, and a server keeps the
// headers that say so; with them a copy is refused, or stored under a condition that has nothing to do with it. What says
// where a copy comes from, such as Nats-Sequence for plain subscribers, is left out too. Nats-Msg-Id stays, by which a stream
// knows a copy that is sent twice.
func PassOn(h nats.Header) nats.Header {
	kept := make(nats.Header, len(h))
	for name, values := range h {
		if name == jetstream.MsgIDHeader || !strings.HasPrefix(name, natsPrefix) {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}
