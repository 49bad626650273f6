package dispatch

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// putBack counts how often a message was given back to the stream for a while.
type putBack struct {
	jetstream.Msg
	times *int
}

func (m putBack) NakWithDelay(wait time.Duration) error {
	if wait > 0 {
		*m.times++
	}
	return nil
}

// TestParkingIsBounded has more requests of a paused kind than a pool holds in memory, by number and by size.
func TestParkingIsBounded(t *testing.T) {
	for size, want := range map[int]int{1000: maxParked, 1 << 20: maxParkedBytes >> 20} {
		p, back := testPool(accept), 0
		page := &kling.Error{Foreign: true, Action: kling.ActionPause}
		p.all[0].Pauses.Failed(kindNamed(t, "effects"), page, time.Now(), time.Now())
		for i := range 300 {
			j := testJob(t, fmt.Sprint(i), "effects", events.PriorityNormal)
			j.Msg, j.size = putBack{times: &back}, size
			p.add(j)
		}
		key := p.key(testJob(t, "", "effects", events.PriorityNormal))
		if n := len(p.ready[key]); n != want || back != 300-want {
			t.Errorf("of 300 with %d bytes, %d are parked and %d were given back, want %d parked", size, n, back, want)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		if n, ok := p.waitForRoom(ctx, key); !ok || n != p.all[0].Slots.room() {
			t.Errorf("room for %d others, want %d", n, p.all[0].Slots.room())
		}
		cancel()
		p.add(testJob(t, "other", "text2video", events.PriorityNormal))
		if j := p.step(); j == nil || j.Req.ID != "other" {
			t.Errorf("a request of another kind waits: %+v", j)
		}
	}
}

// TestKindsAlternateAsProbes has a pool paused: what is tried next is of another kind than what was tried last.
func TestKindsAlternateAsProbes(t *testing.T) {
	credit := &kling.Error{Action: kling.ActionPause, Code: 1102}
	p := testPool(nil)
	p.Begin = doing(func(j *Job) Result {
		p.all[0].Pauses.Failed(j.Req.Kind, credit, time.Now(), time.Now())
		return Paused()
	})
	for i := range 3 {
		p.add(testJob(t, fmt.Sprint("a", i), "text2video", events.PriorityHigh))
	}
	p.add(testJob(t, "b", "effects", events.PriorityLow))
	var tried string
	now := time.Now()
	for range 6 {
		if j := p.next(now); j != nil {
			p.run(j)
			tried += j.Req.ID + " "
		}
		now = now.Add(2 * p.all[0].Pauses.Interval)
	}
	if tried != "a0 b a1 b a2 b " {
		t.Errorf("tried %s", tried)
	}
}

// TestProbesThatAreNeverSentAlternate has the most urgent request fail each time before it is sent: it does not take every probe
// of a pause.
func TestProbesThatAreNeverSentAlternate(t *testing.T) {
	credit := &kling.Error{Action: kling.ActionPause, Code: 1102}
	p := testPool(nil)
	p.Begin = doing(func(j *Job) Result {
		if j.Req.ID == "a" {
			return TryAgain(0)
		}
		p.all[0].Pauses.Failed(j.Req.Kind, credit, time.Now(), time.Now())
		return Paused()
	})
	p.all[0].Pauses.Failed(kindNamed(t, "text2video"), credit, time.Now(), time.Now())
	p.add(testJob(t, "a", "text2video", events.PriorityHigh))
	p.add(testJob(t, "b", "text2video", events.PriorityNormal))
	var tried string
	now := time.Now()
	for range 4 {
		now = now.Add(2 * p.all[0].Pauses.Interval)
		if j := p.next(now); j != nil {
			p.run(j)
			tried += j.Req.ID + " "
		}
	}
	if tried != "a b a b " {
		t.Errorf("tried %s", tried)
	}
}

// TestPinnedRequestsTakeNoRoom has requests wait for an account that is full: others of their lane come through.
func TestPinnedRequestsTakeNoRoom(t *testing.T) {
	p := testPool(accept)
	p.all = append(p.all, &Share{Account: "burst", Slots: NewSlots(0), Pauses: NewPauses(time.Minute, p.log)})
	full := p.all[1].Slots
	full.limit = 0
	const pinned = 80
	for i := range pinned {
		j := testJob(t, fmt.Sprint(i), "text2video", events.PriorityNormal)
		j.Req.Account = "burst"
		p.add(j)
	}
	key := p.key(testJob(t, "", "text2video", events.PriorityNormal))
	if n := p.aside(key); n != pinned {
		t.Errorf("%d of %d requests take no room", n, pinned)
	}
}
