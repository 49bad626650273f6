package dispatch

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/request"
)

// racer is a replica that sends one request as soon as the bound lets it.
type racer struct {
	*Slots
	*Peers
	hearing sync.Mutex // news come one after the other
}

func newRacer(nc *nats.Conn, subject string, i, bound int) *racer {
	r := &racer{Slots: NewSlots(bound), Peers: NewPeers(nc, subject, fmt.Sprintf("replica-%d", i))}
	const sure = maxWindow * windowStep // all that the bound lets through may be under way
	r.grown, r.model("m").grown = sure, sure
	return r
}

func (r *racer) news(m *nats.Msg) {
	r.hearing.Lock()
	defer r.hearing.Unlock()
	r.hear(m, lone{r.Slots}, time.Now())
}

// try reports whether a request may be sent.
func (r *racer) try(token string) bool {
	one := request.Need{N: 1, Model: "m"}
	if !r.Slots.reserve(token, one, time.Now()).ok {
		return false
	}
	if r.takeInOrder("", token, one, lone{r.Slots}) == stands {
		return true
	}
	r.release(token, time.Time{})
	r.give("", token, "m", false)
	return false
}

// TestBoundHoldsOverACluster has replicas race for fewer slots than they are, where announcements cross each other: each
// hears its own at once, and those of others when it may have sent its own.
func TestBoundHoldsOverACluster(t *testing.T) {
	for _, replicas := range []int{2, 3, 5} {
		for bound := 1; bound < replicas; bound++ {
			for seed := range uint64(60) {
				synctest.Test(t, func(t *testing.T) { raceOverACluster(t, replicas, bound, rand.New(rand.NewPCG(seed, 0))) })
			}
		}
	}
}

func raceOverACluster(t *testing.T, replicas, bound int, chance *rand.Rand) {
	var mu sync.Mutex
	upTo := func(most time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		return time.Duration(chance.Int64N(int64(most)))
	}
	const travel = turnStep / 2 // two of them pass before the last of what has crossed an announcement is heard
	var all []*racer
	var travelling sync.WaitGroup
	for i := range replicas {
		r := newRacer(nil, "", i, bound)
		r.cluster = func() string { return "cluster" }
		r.publish = func(_ string, data []byte) error {
			for _, to := range all {
				travelling.Go(func() {
					if to != r {
						time.Sleep(upTo(travel))
					}
					to.news(&nats.Msg{Data: data})
				})
			}
			return nil
		}
		all = append(all, r)
	}
	sent, most := 0, 0
	var racing sync.WaitGroup
	for i, r := range all {
		racing.Go(func() {
			token := fmt.Sprintf("request-%d", i)
			time.Sleep(upTo(4 * travel))
			for !r.try(token) {
				time.Sleep(turnStep + upTo(turnStep))
			}
			mu.Lock()
			sent++
			most = max(most, sent)
			mu.Unlock()
			time.Sleep(10 * turnStep) // the task
			mu.Lock()
			sent--
			mu.Unlock()
			r.release(token, time.Time{})
			r.give("", token, "m", false)
		})
	}
	racing.Wait()
	travelling.Wait()
	if most > bound {
		t.Errorf("%d replicas with a bound of %d had %d requests under way", replicas, bound, most)
	}
}

// TestLastSlotOfACluster has two replicas on different servers race for the only slot. A round counts for nothing where the machine
// took longer to bring an announcement over than replicas wait for those of others.
func TestLastSlotOfACluster(t *testing.T) {
	cluster := bustest.StartCluster(t)
	var conns []*nats.Conn
	for _, s := range cluster.Servers[:2] {
		nc, err := nats.Connect(s.URL())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(nc.Close)
		conns = append(conns, nc)
	}
	const rounds = 40
	late := 0
	for round := 0; round < rounds+late; round++ {
		n, travelled := raceForOne(t, conns, fmt.Sprintf("slots.%d", round))
		switch {
		case n <= 1:
		case travelled < turnStep:
			t.Errorf("round %d: %d replicas sent, and heard of each other within %s", round, n, travelled)
		case late > rounds:
			t.Fatal("the machine is too slow for this test")
		default:
			late++
		}
	}
}

// announcements is when racers told what they take, and how long the slowest was on its way.
type announcements struct {
	mu      sync.Mutex
	told    map[string]time.Time
	slowest time.Duration
	arrived sync.WaitGroup // all that were told, at every other racer
}

// tell notes an announcement that is to reach so many others.
func (a *announcements) tell(data []byte, others int) {
	if news, ok := readNews(data); ok && news.Take > 0 {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.told[news.Replica] = time.Now()
		a.arrived.Add(others)
	}
}

// hear notes the arrival of another's.
func (a *announcements) hear(data []byte, self string) {
	if news, ok := readNews(data); ok && news.Take > 0 && news.Replica != self {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.slowest = max(a.slowest, time.Since(a.told[news.Replica]))
		a.arrived.Done()
	}
}

// raceForOne returns how many of the replicas on these connections would have sent, and how long the slowest of their announcements
// was on its way.
func raceForOne(t *testing.T, conns []*nats.Conn, subject string) (sent int, travelled time.Duration) {
	t.Helper()
	start := make(chan struct{})
	a := &announcements{told: map[string]time.Time{}}
	may := make([]bool, len(conns))
	var racing sync.WaitGroup
	for i, nc := range conns {
		r := newRacer(nc, subject, i, 1)
		r.publish = func(subject string, data []byte) error {
			a.tell(data, len(conns)-1)
			return nc.Publish(subject, data)
		}
		sub, err := nc.Subscribe(subject, func(m *nats.Msg) {
			r.news(m)
			a.hear(m.Data, r.self)
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = sub.Unsubscribe() }()
		racing.Go(func() {
			<-start
			may[i] = r.try(fmt.Sprintf("request-%d", i))
		})
	}
	awaitInterest(t, conns, subject)
	close(start)
	racing.Wait()
	a.arrived.Wait()
	for _, ok := range may {
		if ok {
			sent++
		}
	}
	return sent, a.slowest
}

// awaitInterest returns when each server knows that the others' clients want a subject: they tell in the order of subscribing.
func awaitInterest(t *testing.T, conns []*nats.Conn, subject string) {
	t.Helper()
	for i, to := range conns {
		ready := fmt.Sprintf("ready.%d.%s", i, subject)
		sub, err := to.Subscribe(ready, func(m *nats.Msg) { _ = m.Respond(nil) })
		if err != nil {
			t.Fatal(err)
		}
		for _, from := range conns {
			for until := time.Now().Add(time.Minute); ; {
				_, err := from.Request(ready, nil, time.Second)
				if err == nil {
					break
				}
				if time.Now().After(until) {
					t.Fatal(err)
				}
			}
		}
		_ = sub.Unsubscribe()
	}
}
