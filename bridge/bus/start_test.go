package bus_test

import (
	"testing"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// TestStart sends messages together: one that may be stored, and one that a guard refuses.
func TestStart(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		ensureStream(t, b, eventsConfig(sys))
		first, second := message("state.original.a", ""), message("state.original.a", "")
		bus.GuardSequence(first, "state.original.a", 0)
		bus.GuardSequence(second, "state.original.a", 0)
		one, other := b.Start(t.Context(), first), b.Start(t.Context(), second)
		if one, other := one(t.Context()), other(t.Context()); !one || other {
			t.Errorf("stored: %v and %v, want true and false", one, other)
		}
		b.Close()
		if b.Start(t.Context(), first)(t.Context()) {
			t.Error("a message is stored over a connection that is closed")
		}
	})
}
