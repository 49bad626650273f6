package bus_test

import (
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// TestDraftKnowsItsSize counts along what NATS's client would count anew, also in memory that is used again.
func TestDraftKnowsItsSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, 3000} {
		d := bus.NewDraft("kling-state.put.completion")
		d.Set("Nats-Msg-Id", "order-1.completion")
		d.Set("Kling-Meta-Order", strings.Repeat("x", size))
		d.GuardSequence("kling.completion.*.*.order-1", 17)
		d.PurgeTimer("kling-state.timer.order-1")
		d.Data = append(d.Data, strings.Repeat("y", size)...)
		if got, want := d.Size(), d.Msg.Size(); got != want {
			t.Errorf("%d bytes, want %d", got, want)
		}
		d.Set("Nats-Msg-Id", "order-1.late")
		if got, want := d.Size(), d.Msg.Size(); got < want {
			t.Errorf("%d bytes after a header was set anew, want %d at least", got, want)
		}
		d.Release()
	}
}
