package dispatch

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// TestTurnsAreFair has three waiting replicas ask when they may take each of many freed slots.
func TestTurnsAreFair(t *testing.T) {
	now := time.Now()
	names := []string{"a", "b", "c"}
	first := map[string]int{}
	const freed = 3000
	for i := range freed {
		token := fmt.Sprintf("order-%d", i)
		at := map[time.Time]string{}
		for _, name := range names {
			turns := waitingWith(name, names, 1, 0, now)
			at[turns.until(token, want{}, now)] = name
		}
		if len(at) != len(names) {
			t.Fatalf("two replicas have the same turn for %s", token)
		}
		first[at[time.Time{}]]++
	}
	for _, name := range names {
		if n := first[name]; n < freed/4 || n > freed/2 {
			t.Errorf("replica %s comes first %d times of %d, want about a third", name, n, freed)
		}
	}
}

// waitingWith is the view of one replica on others that wait for n slots each.
func waitingWith(self string, names []string, n int, waited time.Duration, now time.Time) *Peers {
	turns := NewPeers(nil, "", self)
	for _, name := range names {
		if name != self {
			turns.hear(told(slotNews{Replica: name, Wait: n, Waited: waited}), lone{NewSlots(0)}, now)
		}
	}
	return turns
}

// lone counts the slots of a single account.
type lone struct{ *Slots }

func (l lone) slots(string) *Slots { return l.Slots }
func (l lone) bounded(string) bool { return l.Slots.bounded() }
func (l lone) standing(_ string, at place, n int) standing {
	return l.Slots.standing(at, n)
}
func (l lone) said(b begunTask, now time.Time) {
	l.Slots.said(b.Token, request.Need{N: 1, Model: b.Model}, now)
}
func (l lone) ended(token string, now time.Time) { l.release(token, now) }

func told(n slotNews) *nats.Msg {
	data, err := json.Marshal(n)
	if err != nil {
		panic(err)
	}
	return &nats.Msg{Data: data}
}

func TestReplicaThatNoLongerWaitsHasNoTurn(t *testing.T) {
	now := time.Now()
	turns := waitingWith("a", []string{"b", "c", "d"}, 1, 0, now)
	later := now.Add(2 * bidLife)
	for i := range 20 {
		if until := turns.until(fmt.Sprint(i), want{}, later); !until.IsZero() {
			t.Fatal("a slot is left to replicas that have not been heard of for long")
		}
	}
}

// TestTurnsGoByModel has a replica wait for a model that is full, beside one that waits for its pool.
func TestTurnsGoByModel(t *testing.T) {
	now := time.Now()
	turns := NewPeers(nil, "", "a")
	later := func(model string) (n int) {
		for i := range 100 {
			if !turns.until(fmt.Sprint(i), want{model: model}, now).IsZero() {
				n++
			}
		}
		return n
	}
	turns.hear(told(slotNews{Replica: "b", Model: "x", Wait: 3, Waited: time.Hour}), lone{NewSlots(0)}, now)
	if x, y := later("x"), later("y"); x == 0 || y > 0 {
		t.Errorf("of 100 slots of each model %d and %d are left to a replica that waits for the former", x, y)
	}
	if left := turns.yields(nil, now); !left[want{model: "x"}] || left[want{model: "y"}] || left[want{}] {
		t.Errorf("slots are left for %v", left)
	}
	turns.hear(told(slotNews{Replica: "c", Wait: 1}), lone{NewSlots(0)}, now)
	if later("y") == 0 {
		t.Error("no slot is left to a replica that waits for the pool")
	}
}

// TestTurnsGoByPriority has a replica with an urgent request wait beside two with others.
func TestTurnsGoByPriority(t *testing.T) {
	now := time.Now()
	priorities := map[string]events.Priority{"a": events.PriorityHigh, "b": events.PriorityNormal, "c": events.PriorityLow}
	first := map[events.Priority]int{}
	const freed = 1000
	for i := range freed {
		for self, own := range priorities {
			turns := NewPeers(nil, "", self)
			for name, p := range priorities {
				if name != self {
					turns.hear(told(slotNews{Replica: name, Wait: 1, Priority: p}), lone{NewSlots(0)}, now)
				}
			}
			turns.wait(want{}, &request.Request{Priority: own, Slots: 1}, now, now)
			if turns.until(fmt.Sprint(i), want{}, now).IsZero() {
				first[own]++
			}
		}
	}
	if first[events.PriorityHigh] < freed*7/10 || first[events.PriorityNormal] < freed/20 || first[events.PriorityLow] < freed/20 {
		t.Errorf("of %d slots %v, want about eight in ten for high and one in ten for each other", freed, first)
	}
}

// TestSlotsAreLeftToWhoNeedsSeveral has two replicas wait for several slots for long, and one for a single slot.
func TestSlotsAreLeftToWhoNeedsSeveral(t *testing.T) {
	now := time.Now()
	const waited = 2 * starving
	older := waitingWith("b", []string{"a"}, 4, waited, now)
	if older.yields(map[want]time.Time{{}: now.Add(-2 * waited)}, now)[want{}] {
		t.Error("the replica that has waited longest yields")
	}
	younger := waitingWith("a", []string{"b"}, 4, 2*waited, now)
	if !younger.yields(map[want]time.Time{{}: now.Add(-waited)}, now)[want{}] {
		t.Error("the replica that has waited less takes the slots")
	}
	if !younger.yields(nil, now)[want{}] {
		t.Error("a replica that needs one slot takes it")
	}
	if waitingWith("a", []string{"b"}, 1, waited, now).yields(nil, now)[want{}] {
		t.Error("a slot is left to a replica that needs only one")
	}
	one, two := waitingWith("a", []string{"b"}, 4, waited, now), waitingWith("b", []string{"a"}, 4, waited, now)
	if one.yields(map[want]time.Time{{}: now.Add(-waited)}, now)[want{}] && two.yields(map[want]time.Time{{}: now.Add(-waited)}, now)[want{}] {
		t.Error("two that have waited alike yield to each other")
	}
}

// TestReplicasDoNotAllYield has three replicas wait for several slots for nearly as long, and hear of each other a
// moment later.
func TestReplicasDoNotAllYield(t *testing.T) {
	now := time.Now()
	began := map[string]time.Time{}
	for i, name := range []string{"z", "m", "a"} {
		began[name] = now.Add(-2*starving + time.Duration(i)*900*time.Millisecond)
	}
	yielding := 0
	for self := range began {
		turns := NewPeers(nil, "", self)
		for name, since := range began {
			if name != self {
				turns.hear(told(slotNews{Replica: name, Wait: 4, Waited: now.Sub(since)}), lone{NewSlots(0)}, now.Add(10*time.Millisecond))
			}
		}
		if turns.yields(map[want]time.Time{{}: began[self]}, now)[want{}] {
			yielding++
		}
	}
	if yielding != 2 {
		t.Errorf("%d of three yield, want all but the one that has waited longest", yielding)
	}
}

// TestYieldingEndsWithTheRequest has the request for which a replica waited expire.
func TestYieldingEndsWithTheRequest(t *testing.T) {
	p := testPool(accept)
	p.all[0].Slots.limit, p.all[0].Slots.probeAt = 4, time.Now().Add(time.Hour)
	p.all[0].Slots.hold("x", request.Need{N: 2}, time.Now())
	large := testJob(t, "large", "text2video", events.PriorityNormal)
	large.Req.Slots = 4
	p.add(large)
	if j := p.step(); j != nil || p.blocked[want{}] != large {
		t.Fatalf("got %+v", j)
	}
	large.Req.Deadline = time.Now()
	p.turns.hear(told(slotNews{Replica: "b", Wait: 4, Waited: time.Hour}), p, time.Now())
	if j := p.step(); j != large {
		t.Fatalf("got %+v, want the expired request to be settled", j)
	}
	if j := p.step(); j != nil || p.blocked[want{}] != nil {
		t.Errorf("got %+v, and the replica still waits for a request that is gone", j)
	}
}

// TestNewsOfOthersTakeSlots follows what another replica tells about one of two slots.
func TestNewsOfOthersTakeSlots(t *testing.T) {
	s, now := NewSlots(0), time.Now()
	turns := NewPeers(nil, "", "a")
	hear := func(n slotNews) {
		n.Replica = "b"
		turns.hear(told(n), lone{s}, now)
	}
	room := func(token string) bool {
		got := s.reserve(token, request.Need{N: 1}, now)
		if got.ok {
			s.release(token, time.Time{})
		}
		return got.ok
	}
	s.limit, s.probeAt = 2, now.Add(time.Hour)
	s.hold("long", request.Need{N: 1}, now)
	hear(slotNews{Token: "x", Take: 1})
	if room("y") {
		t.Error("another replica's reservation was not counted")
	}
	hear(slotNews{Token: "x", Given: true})
	if !room("y") {
		t.Error("a reservation that came to nothing still counts")
	}
	hear(slotNews{Token: "x", Take: 1})
	s.hold("x", request.Need{N: 1}, now) // it became a task
	hear(slotNews{Token: "x", Given: true})
	if room("y") {
		t.Error("a stray message took a running task's slot away")
	}
	s.release("x", now.Add(turnStep))
	if room("y") {
		t.Error("a slot was taken that was left to another replica")
	}
	hear(slotNews{Token: "z", Take: 1})
	if n, _ := s.resting.at("", now); n != 0 {
		t.Error("a slot is left to a replica that has taken it")
	}
	hear(slotNews{Token: "z", Given: true, Refused: true})
	if !room("y") {
		t.Error("the slot did not come back")
	}
	for _, garbage := range []string{"", "{", `{"take":-1}`, `{"replica":"a","take":9}`} {
		turns.hear(&nats.Msg{Data: []byte(garbage)}, lone{s}, now)
	}
	if !room("y") {
		t.Error("nonsense took a slot")
	}
}

// TestNothingOvertakesWhoWaitsForSeveral has a request for three of four slots wait for two tasks to end.
func TestNothingOvertakesWhoWaitsForSeveral(t *testing.T) {
	p := testPool(accept)
	p.all[0].Slots.limit, p.all[0].Slots.probeAt = 4, time.Now().Add(time.Hour)
	p.all[0].Slots.hold("x", request.Need{N: 1}, time.Now())
	p.all[0].Slots.hold("y", request.Need{N: 1}, time.Now())
	large := testJob(t, "large", "text2video", events.PriorityNormal)
	large.Req.Slots = 3
	p.add(large)
	p.add(testJob(t, "small", "text2video", events.PriorityLow))
	if j := p.step(); j != nil {
		t.Fatalf("%s has overtaken", j.Req.ID)
	}
	p.all[0].Slots.release("x", time.Time{})
	for _, want := range []string{"large", "small"} {
		if j := p.step(); j == nil || j.Req.ID != want {
			t.Fatalf("got %+v, want %s", j, want)
		}
	}
}

// TestRequestForMoreThanThereIs has a request for nine slots of four be passed over and tried at times.
func TestRequestForMoreThanThereIs(t *testing.T) {
	var refused int
	p := testPool(func(j *Job) Result {
		if j.Req.Slots > 4 {
			refused++
			return NoCapacity()
		}
		return accept(j)
	})
	large := testJob(t, "large", "text2video", events.PriorityNormal)
	large.Req.Slots = 9
	p.add(large)
	p.all[0].Slots.limit, p.all[0].Slots.probeAt = 4, time.Now().Add(time.Hour)
	for i := range 20 {
		p.add(testJob(t, fmt.Sprint(i), "text2video", events.PriorityNormal))
	}
	for range 20 {
		if j := p.step(); j == nil || j == large {
			t.Fatalf("got %+v, want a request that fits", j)
		}
	}
	p.all[0].Slots.probeAt = time.Time{}
	if j := p.step(); j != large || refused != 1 {
		t.Fatalf("got %+v, want the large request to be tried", j)
	}
	if p.all[0].Slots.limit != 4 {
		t.Errorf("a refusal of nine slots has made the limit %d", p.all[0].Slots.limit)
	}
}

// TestSeatedRequestWaitsBehindNobody has a request come back whose replica died with a slot for it. An urgent one waits
// for that very slot.
func TestSeatedRequestWaitsBehindNobody(t *testing.T) {
	p := testPool(accept)
	now := time.Now()
	p.all[0].Slots.limit, p.all[0].Slots.probeAt = 1, now.Add(time.Hour)
	p.all[0].Slots.taken(place{token: "orphan"}, request.Need{N: 1}, now)
	p.add(testJob(t, "urgent", "text2video", events.PriorityHigh))
	if j := p.step(); j != nil {
		t.Fatalf("%s was started without a slot", j.Req.ID)
	}
	p.add(testJob(t, "orphan", "text2video", events.PriorityLow))
	for _, want := range []string{"orphan", "urgent"} {
		if j := p.step(); j == nil || j.Req.ID != want {
			t.Fatalf("got %+v, want %s", j, want)
		}
	}
}

// TestOrphanDoesNotHoldUpProbes keeps a pool from being tried for as long as a replica may be about to send.
func TestOrphanDoesNotHoldUpProbes(t *testing.T) {
	s, now := NewSlots(0), time.Now()
	s.limit = 1
	s.taken(place{token: "orphan"}, request.Need{N: 1}, now)
	for _, c := range []struct {
		after time.Duration
		probe bool
	}{{foreignLife / 2, false}, {2 * foreignLife, true}} {
		s.beginRecount()
		s.found("orphan", request.Need{N: 1}, now.Add(c.after))
		s.endRecount(now.Add(c.after))
		if _, known := s.used.get("orphan"); !known {
			t.Errorf("after %s its record is there, and nothing is held for it", c.after)
		}
		if got := s.reserve("probe", request.Need{N: 1}, now.Add(c.after)); got.ok != c.probe {
			t.Errorf("after %s the pool was tried: %v, want %v", c.after, got.ok, c.probe)
		}
	}
}

// TestTheFirstToTellTakesTheSlot has two replicas reserve the last slot at the same time. Each hears both in the server's order.
func TestTheFirstToTellTakesTheSlot(t *testing.T) {
	now, one := time.Now(), request.Need{N: 1, Model: "a"}
	for name, c := range map[string]struct {
		prepare func(s *Slots)
		first   bool // this replica's own news come first
		want    standing
	}{
		"it was first":            {func(s *Slots) { s.limit = 2 }, true, stands},
		"the other was first":     {func(s *Slots) { s.limit = 2 }, false, beyondLimit},
		"of the model":            {func(s *Slots) { s.model("a").limit = 2 }, false, beyondLimit},
		"there is room":           {func(s *Slots) { s.limit = 3 }, false, stands},
		"no limit is known":       {func(*Slots) {}, false, stands},
		"to see whether it holds": {func(s *Slots) { s.limit, s.refusals["a"] = 1, 1 }, false, stands},
		"the bound":               {func(s *Slots) { s.limit, s.bound = 2, 2 }, false, beyondBound},
	} {
		t.Run(name, func(t *testing.T) {
			s := NewSlots(0)
			s.hold("task", one, now)
			c.prepare(s)
			turns := NewPeers(nil, "", "self")
			news := []slotNews{{Replica: "other", Token: "theirs", Model: "a", Take: 1}, {Replica: "self", Token: "mine", Model: "a", Take: 1}}
			turns.publish = func(string, []byte) error {
				if c.first {
					slices.Reverse(news)
				}
				for _, n := range news {
					turns.hear(told(n), lone{s}, now)
				}
				return nil
			}
			if !s.reserve("mine", one, now).ok {
				t.Fatal("it could not reserve a slot")
			}
			if got := turns.takeInOrder("", "mine", one, lone{s}); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}

// TestOutbidForEver has somebody tell again and again of a slot that was taken before. A request lets some go by, and then asks
// Kling.
func TestOutbidForEver(t *testing.T) {
	sent := false
	p := testPool(func(*Job) Result {
		sent = true
		return Settled()
	})
	slots := p.all[0].Slots
	slots.limit = 1
	p.turns.hear(told(slotNews{Replica: "x", Wait: 1}), p, time.Now())
	p.turns.publish = func(_ string, data []byte) error {
		news, _ := readNews(data)
		if news.Take > 0 {
			p.turns.hear(told(slotNews{Replica: "x", Token: "forged", Take: 1}), p, time.Now())
			p.turns.hear(&nats.Msg{Data: data}, p, time.Now())
			p.turns.hear(told(slotNews{Replica: "x", Token: "forged", Given: true}), p, time.Now())
		}
		return nil
	}
	p.add(testJob(t, "mine", "text2video", events.PriorityNormal))
	for range maxOutbid {
		if p.step(); sent {
			t.Fatal("it was sent though another replica had the slot")
		}
	}
	if p.step(); !sent {
		t.Error("it is never sent")
	}
}

// TestOwnNewsAreKnown has a replica skip what it has said itself, but for what somebody waits for.
func TestOwnNewsAreKnown(t *testing.T) {
	t.Parallel()
	var said []byte
	p := NewPeers(nil, "", "me")
	p.publish = func(_ string, data []byte) error { said = data; return nil }
	for _, news := range []slotNews{
		{Token: "b", Take: 1, Clock: 3},
		{Wait: 2},
		{tasksNews: tasksNews{Begun: []begunTask{{Token: "a"}}}},
		{tasksNews: tasksNews{Ended: []string{"a"}}},
	} {
		p.send(news)
		if !p.knows(said) {
			t.Errorf("%s is not known", said)
		}
		for _, name := range []string{"m", "mee", "other"} {
			if NewPeers(nil, "", name).knows(said) {
				t.Errorf("%s is taken for what %s has said", said, name)
			}
		}
	}
	p.echoes["c"] = make(chan standing, 1)
	if p.knows(said) {
		t.Errorf("%s is skipped though somebody waits", said)
	}
}
