package bus_test

import (
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// TestStart sends messages together: one that may be stored, and one that a guard refuses.
func TestStart(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		ensureStream(t, b, eventsConfig(sys))
		var first *nats.Msg
		n := 0
		eventually(t, "the first of two is stored and the second is not", func() bool { // nobody answers while a leader is elected
			n++
			subject := fmt.Sprintf("state.original.%d", n)
			first = message(subject, "")
			second := message(subject, "")
			bus.GuardSequence(first, subject, 0)
			bus.GuardSequence(second, subject, 0)
			stored, other := b.Start(t.Context(), first), b.Start(t.Context(), second)
			one, both := stored(t.Context()), other(t.Context())
			if one && both {
				t.Fatal("both are stored")
			}
			return one
		})
		b.Close()
		if b.Start(t.Context(), first)(t.Context()) {
			t.Error("a message is stored over a connection that is closed")
		}
	})
}
