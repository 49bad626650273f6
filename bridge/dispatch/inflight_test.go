package dispatch

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// pair is two replicas. What each tells the other hears when it is passed on.
type pair struct {
	a, b *InFlight
	told map[string][]*nats.Msg // by the name of who told
}

func newPair() *pair {
	p := &pair{told: map[string][]*nats.Msg{}}
	replica := func(name string) *InFlight {
		peers := NewPeers(nil, subjects.Default().SlotNews(string(kling.PoolVideo)), name)
		peers.publish = func(subject string, data []byte) error {
			p.told[name] = append(p.told[name], &nats.Msg{Subject: subject, Data: data})
			return nil
		}
		pool := NewPool(kling.PoolVideo, []*Share{{Account: kling.DefaultAccount, Slots: NewSlots(0)}}, peers, pull.NewHolder(), nil)
		st := &store.Store{Subjects: subjects.Default(), Kinds: kling.DefaultKinds()}
		return NewInFlight(nil, st, map[kling.Pool]*Pool{kling.PoolVideo: pool}, store.NewCache(10), nil)
	}
	p.a, p.b = replica("a"), replica("b")
	return p
}

// pass has both hear what one has told.
func (p *pair) pass(from string, now time.Time) (messages int) {
	messages = len(p.told[from])
	for _, msg := range p.told[from] {
		p.a.follow(msg, now)
		p.b.follow(msg, now)
	}
	p.told[from] = nil
	return messages
}

// inFlight is what a replica takes to be in flight.
func inFlight(f *InFlight) int {
	used, _, _ := f.Pools[kling.PoolVideo].all[0].Slots.Measure()
	return used
}

// TestEndedTasksAreForgotten has another replica tell how a task goes on that this one has made: its record is kept until the end,
// and not until 100,000 others have come.
func TestEndedTasksAreForgotten(t *testing.T) {
	t.Parallel()
	p := newPair()
	of := func(id string) *store.Record { return &store.Record{RequestID: id, Kind: "text2video", Slots: 1} }
	p.a.Cache.Put(of("a"))
	for _, c := range []struct {
		id     string
		status events.Status
		kept   bool
	}{
		{"a", events.StatusSubmitted, true}, {"a", events.StatusProcessing, true}, {"another", events.StatusSucceed, true},
		{"a", events.StatusSucceed, false},
	} {
		p.b.Stored(of(c.id), c.status)
		p.b.tell()
		p.pass("b", time.Now())
		if got := p.a.Cache.Has("a"); got != c.kept {
			t.Errorf("after %s of %q it is kept: %t", c.status, c.id, got)
		}
	}
}

// TestReplicasTellOfTasks has one replica store events of many tasks. The other one knows what is in flight after few messages,
// of which none is longer than it would read, and in whatever order two replicas are heard.
func TestReplicasTellOfTasks(t *testing.T) {
	t.Parallel()
	const tasks = 1000
	p, now := newPair(), time.Now()
	record := func(i int) *store.Record {
		return &store.Record{RequestID: fmt.Sprintf("order-%060d", i), Kind: "text2video", Model: "kling-v3", Slots: 1 + i%2}
	}
	for i := range tasks {
		p.a.Stored(record(i), events.StatusSubmitted)
	}
	p.a.tell()
	if got := p.pass("a", now); got > 2+tasks/maxUntold {
		t.Errorf("%d messages tell of %d tasks", got, tasks)
	}
	for name, f := range map[string]*InFlight{"who has stored": p.a, "who was told": p.b} {
		if got := inFlight(f); got != tasks*3/2 {
			t.Errorf("%s takes %d slots to be in flight, want %d", name, got, tasks*3/2)
		}
	}
	for i := range tasks {
		p.b.Stored(record(i), events.StatusFailed)
	}
	p.b.tell()
	p.pass("b", now)
	if a, b := inFlight(p.a), inFlight(p.b); a != 0 || b != 0 {
		t.Errorf("when all have ended %d and %d slots are taken", a, b)
	}
	p.a.Stored(record(tasks), events.StatusSubmitted)
	p.b.Stored(record(tasks), events.StatusSucceed)
	p.a.tell() // a callback was faster than the news
	p.pass("a", now)
	if b := inFlight(p.b); b != 0 {
		t.Errorf("news of the beginning, which come after the end, take %d slots", b)
	}
}

// TestNextTryIsToldSoonAfter has the next try of a request begin as soon as one can after the one before has failed.
func TestNextTryIsToldSoonAfter(t *testing.T) {
	t.Parallel()
	p, now := newPair(), time.Now()
	of := request.Need{N: 1, Model: "kling-v3"}
	pool := p.a.Pools[kling.PoolVideo]
	pool.hold(kling.DefaultAccount, "a", of, now)
	pool.ended("a", now)
	pool.hold(kling.DefaultAccount, "a", of, now.Add(memory/2))
	if got := inFlight(p.a); got != 0 {
		t.Errorf("late news of the try before take %d slots", got)
	}
	pool.hold(kling.DefaultAccount, "a", of, now.Add(time.Second))
	if got := inFlight(p.a); got != 1 {
		t.Errorf("the next try takes %d slots", got)
	}
}

// TestTasksAreToldInOrder has a replica announce a call after a task has ended: who hears of the call knows of the end.
func TestTasksAreToldInOrder(t *testing.T) {
	t.Parallel()
	p, now := newPair(), time.Now()
	rec := &store.Record{RequestID: "a", Kind: "text2video", Slots: 1}
	p.a.Stored(rec, events.StatusSubmitted)
	p.a.tell()
	p.a.Stored(rec, events.StatusSucceed)
	p.a.Pools[kling.PoolVideo].turns.take(kling.DefaultAccount, "b", request.Need{N: 1})
	p.pass("a", now)
	slots := p.b.Pools[kling.PoolVideo].all[0].Slots
	_, ended := slots.need("a")
	_, called := slots.need("b")
	if ended || !called {
		t.Errorf("the task that has ended is known: %t; the call is: %t", ended, called)
	}
}

// TestHearsayIsFound has a recount find a task that only another replica has told of. From then on it is waited for.
func TestHearsayIsFound(t *testing.T) {
	t.Parallel()
	s, now := NewSlots(1), time.Now()
	of := request.Need{N: 1, Model: "kling-v3"}
	s.said("a", of, now)
	if s.hearsay != 1 || s.held != 1 {
		t.Fatalf("%d held, %d of them by hearsay", s.held, s.hearsay)
	}
	s.beginRecount()
	s.see("a")
	s.endRecount(now)
	if s.hearsay != 0 || s.held != 1 {
		t.Errorf("%d held, %d of them by hearsay", s.held, s.hearsay)
	}
}

// TestRefusedBeforeTheNews has Kling refuse a call of a replica that has not heard yet of the task that has the only slot. It takes
// the slot as soon as it hears that the task has ended.
func TestRefusedBeforeTheNews(t *testing.T) {
	t.Parallel()
	p, now := newPair(), time.Now()
	of := request.Need{N: 1, Model: "kling-v3"}
	slots := p.b.Pools[kling.PoolVideo].all[0].Slots
	if !slots.reserve("b", of, now).owned {
		t.Fatal("nothing is known, and it does not try")
	}
	slots.refused("b", of, now)
	task := &store.Record{RequestID: "a", Kind: "text2video", Model: "kling-v3", Slots: 1}
	for _, status := range []events.Status{events.StatusSubmitted, events.StatusSucceed} {
		if slots.reserve("b", of, now).ok {
			t.Fatalf("it sends before it hears of %s", status)
		}
		p.a.Stored(task, status)
		p.a.tell()
		p.pass("a", now)
	}
	if !slots.reserve("b", of, now).owned {
		t.Error("it does not take the slot that is free")
	}
}

// TestManyTellAtATime has callbacks end tasks beside each other. Whoever hears of it believes all of it.
func TestManyTellAtATime(t *testing.T) {
	t.Parallel()
	const callers, each = 64, 200
	var mu sync.Mutex
	told := 0
	peers := NewPeers(nil, "", "a")
	peers.publish = func(_ string, data []byte) error {
		mu.Lock()
		defer mu.Unlock()
		news, ok := readNews(data)
		if told += len(news.Ended); !ok {
			t.Errorf("news of %d tasks are not believed", len(news.Ended))
		}
		return nil
	}
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for k := range each {
				peers.noteEnded(fmt.Sprintf("order-%d-%d", i, k))
			}
		})
	}
	all.Wait()
	peers.tellTasks()
	if told != callers*each {
		t.Errorf("%d ends were told of %d", told, callers*each)
	}
}
