package dispatch

import (
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// TestNobodyWaitsForWhoIsDone has a replica send the last of its requests: the others leave it slots only while one waits.
func TestNobodyWaitsForWhoIsDone(t *testing.T) {
	p := testPool(func(*Job) Result { return Settled() })
	slots := NewSlots(1)
	p.all[0].Slots = slots
	other := NewPeers(nil, "", "other")
	p.turns.publish = func(_ string, data []byte) error {
		other.hear(&nats.Msg{Data: data}, lone{NewSlots(0)}, time.Now())
		p.turns.hear(&nats.Msg{Data: data}, p, time.Now())
		return nil
	}
	leaves := func(when string, some bool) {
		t.Helper()
		p.bid(time.Now())
		freed, left := want{}, 0
		for i := range 100 {
			if !other.until(fmt.Sprint(i), freed, time.Now()).IsZero() {
				left++
			}
		}
		if left > 0 != some {
			t.Errorf("%s: of 100 slots %d are left to the replica", when, left)
		}
	}
	for round := range 2 { // bids are told but now and then: one that was taken back is told at once
		busy := fmt.Sprint("busy-", round)
		slots.found(busy, request.Need{N: 1, Model: unknownModel}, time.Now())
		p.add(testJob(t, fmt.Sprint("last-", round), "text2video", events.PriorityNormal))
		if p.step() != nil {
			t.Fatal("it was sent though there is no slot")
		}
		leaves("while it waits", true)
		slots.release(busy, time.Time{})
		if p.step() == nil {
			t.Fatal("it was not sent though there is a slot")
		}
		leaves("once it was sent", false)
	}
}
