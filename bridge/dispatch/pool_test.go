package dispatch

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// testPool is a video pool whose jobs end as work says.
func testPool(work func(*Job) Result) *Pool {
	log := slog.New(slog.DiscardHandler)
	p := NewPool(kling.PoolVideo, []*Share{{Account: kling.DefaultAccount, Slots: NewSlots(0), Pauses: NewPauses(time.Minute, log)}}, NewPeers(nil, "", "a"), pull.NewHolder(), log)
	p.Begin = doing(work)
	return p
}

// doing is for work that is done in one step, or is the same in each.
func doing(work func(*Job) Result) func(*Job) func() Result {
	return func(j *Job) func() Result { return func() Result { return work(j) } }
}

func kindNamed(t *testing.T, name string) kling.Kind {
	t.Helper()
	k, ok := kling.DefaultKinds().Lookup(name)
	if !ok {
		t.Fatalf("no kind %s", name)
	}
	return k
}

func testJob(t *testing.T, id, kindName string, priority events.Priority) *Job {
	t.Helper()
	return &Job{
		span: trace.SpanFromContext(context.Background()),
		Req: &request.Request{
			ID: id, Token: id, Kind: kindNamed(t, kindName), Priority: priority, Slots: 1, Deadline: time.Now().Add(time.Hour),
		},
	}
}

// inStream is a message that goes back to the stream when it is not wanted.
type inStream struct {
	jetstream.Msg
	back func()
}

func (m inStream) Nak() error {
	m.back()
	return nil
}

// accept is the work of a Kling with room: the task exists and ends at once.
func accept(j *Job) Result {
	j.Accepted()
	j.pool.all[0].Slots.release(j.Req.Token, time.Time{})
	return Settled()
}

// step runs the next job, if there is one, and returns it.
func (p *Pool) step() *Job {
	j := p.next(time.Now())
	if j != nil {
		p.run(j)
	}
	return j
}

func TestGenerationsAlternate(t *testing.T) {
	p := testPool(accept)
	p.add(testJob(t, "v2", "text-to-video", events.PriorityNormal))
	for i := range 10 {
		p.add(testJob(t, fmt.Sprintf("v1-%d", i), "text2video", events.PriorityNormal))
	}
	for range 2 {
		if j := p.step(); j != nil && j.Req.ID == "v2" {
			return
		}
	}
	t.Error("a request of the newer API waits behind a backlog of the older one")
}

func TestEveryPriorityHasItsShare(t *testing.T) {
	p := testPool(accept)
	priorities := map[string]events.Priority{}
	for i := range 40 {
		for _, priority := range events.Priorities() {
			for _, k := range []string{"text2video", "text-to-video"} {
				id := fmt.Sprintf("%s-%s-%d", priority, k, i)
				priorities[id] = priority
				p.add(testJob(t, id, k, priority))
			}
		}
	}
	got := map[events.Priority]int{}
	for range 40 {
		got[priorities[p.step().Req.ID]]++
	}
	if got[events.PriorityNormal] < 4 || got[events.PriorityLow] < 4 || got[events.PriorityHigh] < 28 {
		t.Errorf("of 40 creates %v, want one in ten for each of the lower priorities and the rest for high", got)
	}
}

// TestRefusedTurnIsNoPrivilege refuses a low request and then has a slot and a high one.
func TestRefusedTurnIsNoPrivilege(t *testing.T) {
	full := true
	p := testPool(func(j *Job) Result {
		if full {
			return NoCapacity()
		}
		return accept(j)
	})
	p.all[0].Slots.hold("elsewhere", request.Need{N: 1}, time.Now())
	p.add(testJob(t, "low", "text2video", events.PriorityLow))
	p.step()
	full = false
	p.add(testJob(t, "high", "text2video", events.PriorityHigh))
	p.all[0].Slots.probeAt = time.Time{} // it is time to try one more
	if j := p.step(); j == nil || j.Req.ID != "high" {
		t.Errorf("got %+v, want the high request first", j)
	}
}

// TestRefusedWithNothingInFlight has tasks of others, or of requests that have expired, fill a pool: it is tried after 1 s, 2 s,
// 4 s …, as no task of ours can begin meanwhile.
func TestRefusedWithNothingInFlight(t *testing.T) {
	s, now, of := NewSlots(0), time.Now(), request.Need{N: 1, Model: "kling-v3"}
	for _, wait := range []time.Duration{0, 1, 2, 4, 8} {
		if now = now.Add(wait * time.Second); !s.reserve("a", of, now).ok {
			t.Fatalf("not tried %s after the last refusal", wait*time.Second)
		}
		s.refused("a", of, now)
		if s.reserve("b", of, now.Add(time.Second/2)).ok {
			t.Fatal("tried again at once")
		}
	}
}

// TestRefusalDuringRecount has a recount see the record of a create call that is then refused.
func TestRefusalDuringRecount(t *testing.T) {
	calls := 0
	p := testPool(func(*Job) Result { calls++; return NoCapacity() })
	p.add(testJob(t, "ghost", "text2video", events.PriorityNormal))
	began := time.Now()
	p.all[0].Slots.beginRecount()
	p.step()
	p.all[0].Slots.found("ghost", request.Need{N: 1}, began)
	p.all[0].Slots.endRecount(began)
	if of, known := p.all[0].Slots.need("ghost"); known {
		t.Errorf("the refused request holds %d slots", of.N)
	}
	for range 100 {
		p.step()
	}
	if calls > 1 {
		t.Errorf("%d calls in a full pool within a moment, want one until the next probe", calls)
	}
}

// TestSlotsFollowEvents walks a slot through what can happen to it.
func TestSlotsFollowEvents(t *testing.T) {
	s, now := NewSlots(0), time.Now()
	inUse := func(want int) {
		t.Helper()
		if got := s.held + s.reserved; got != want {
			t.Errorf("%d slots in use, want %d", got, want)
		}
	}
	if got := s.reserve("a", request.Need{N: 2}, now); !got.ok || !got.owned {
		t.Fatal("an empty pool has no room")
	}
	inUse(2)
	s.release("a", time.Time{}) // its completion came before the create reply
	s.accepted("a")
	inUse(0)
	s.hold("b", request.Need{N: 1}, now) // by another replica
	if got := s.reserve("b", request.Need{N: 1}, now); !got.ok || got.owned {
		t.Error("a request that is known to hold a slot must pass without taking another")
	}
	s.refused("c", request.Need{N: 1}, now)
	if got := s.reserve("d", request.Need{N: 1}, now); got.ok {
		t.Error("more than Kling allows")
	}
	if got := s.reserve("d", request.Need{N: 1}, now.Add(2*firstProbeWait)); !got.ok {
		t.Error("a full pool is never tried again")
	}
	s.accepted("d")
	s.release("b", time.Time{})
	s.release("d", time.Time{})
	inUse(0)
	if got := s.reserve("e", request.Need{N: 2}, now); !got.ok {
		t.Error("the limit was not raised by the task that Kling took beyond it")
	}
}

// TestTakenAgain has the news of a task come to nothing, and the task end before they are told again: the slots that the request
// takes for that are nobody's afterwards.
func TestTakenAgain(t *testing.T) {
	t.Parallel()
	times := 0
	p := testPool(func(j *Job) Result {
		switch times++; times {
		case 1:
			j.Accepted()
			return TryAgain(0).Holding(true)
		case 2:
			return TryAgain(0)
		default:
			return Settled()
		}
	})
	now := time.Now()
	p.add(testJob(t, "a", "text2video", events.PriorityNormal))
	p.step()
	if n := p.all[0].Slots.held; n != 1 {
		t.Errorf("%d slots are held by a task that Kling has made", n)
	}
	p.ended("a", now)
	p.step()
	p.step()
	if used, _, _ := p.all[0].Slots.Measure(); used != 0 || times != 3 {
		t.Errorf("%d slots are taken after %d steps, and by no task", used, times)
	}
}
