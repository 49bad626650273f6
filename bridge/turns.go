package bridge

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/events"
)

// turns is how replicas that wait for the same pool keep out of each other's way. Each tells the others what it is about
// to send, and whether it waits; of those that wait, each freed slot has an order in which they may take it. All of it
// is plain messages that may be lost, and none of it is needed: without them replicas race for a slot, and Kling refuses
// the loser.
//
// Safe for concurrent use.
type turns struct {
	nc      *nats.Conn
	subject string
	self    string // names this replica

	mu     sync.Mutex
	others map[string]bid       // of replicas that wait, by name
	own    bid                  // told last
	echoes map[string]chan bool // by token: who waits for its own news to come back
	grace  credit               // for replicas that are said to wait for several slots
}

// bid is what a replica that waits has told.
type bid struct {
	priority events.Priority // of its first request
	slots    int             // that this needs
	since    time.Time       // it has been the first
	at       time.Time       // told or heard
}

// slotNews is what replicas tell each other about a pool.
type slotNews struct {
	Replica string        `json:"replica"`
	Token   string        `json:"token,omitempty"`  // of the request that takes or gives
	Take    int           `json:"take,omitempty"`   // slots, for a create call
	Given   bool          `json:"given,omitempty"`  // the call made no task
	Refused bool          `json:"full,omitempty"`   // because Kling had no capacity
	Wait    int           `json:"wait,omitempty"`   // slots, for which there is no room
	Waited  time.Duration `json:"waited,omitempty"` // for them

	Priority events.Priority `json:"priority,omitempty"` // of the request that waits
}

const (
	// turnStep is how long a freed slot is left to each of the replicas that come first: well above the time a message
	// takes, well below that of a task.
	turnStep = 25 * time.Millisecond
	maxRank  = 8
	// bidInterval is how often a replica that goes on waiting says so, and bidLife how long that counts.
	bidInterval = 500 * time.Millisecond
	bidLife     = 5 * bidInterval
	// maxNews is the longest message that is read.
	maxNews = 1 << 10
	// maxTake is what a request takes at most.
	maxTake = maxImages
	// maxWaited bounds what is believed of a replica's patience.
	maxWaited = 24 * time.Hour
	// echoTime bounds the wait for the own news to come back.
	echoTime = time.Second
	// starving is how long a request that needs several slots waits before others leave them to it.
	starving = 5 * time.Second
	// maxGrace is how long they do so. Slots come free as tasks end, in less time than that.
	maxGrace = 2 * time.Minute
	// maxOthers bounds the replicas that are believed to wait.
	maxOthers = 1024
)

func newTurns(nc *nats.Conn, subject, self string) *turns {
	return &turns{
		nc: nc, subject: subject, self: self, others: map[string]bid{}, echoes: map[string]chan bool{},
		grace: credit{most: maxGrace},
	}
}

// tell publishes news. While NATS is away they are lost, but nothing can be sent to Kling either.
func (t *turns) tell(news slotNews) {
	news.Replica = t.self
	if data, err := json.Marshal(news); err == nil {
		_ = t.nc.Publish(t.subject, data)
	}
}

// take tells that a create call is about to be sent.
func (t *turns) take(token string, n int) { t.tell(slotNews{Token: token, Take: n}) }

// takeBounded is take in a pool with a configured bound. It waits until the news has come back, and with it all that
// other replicas told before, and reports whether the bound has room for all of it.
func (t *turns) takeBounded(token string, n int) (fits bool) {
	heard := make(chan bool, 1)
	t.mu.Lock()
	t.echoes[token] = heard
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.echoes, token)
	}()
	t.take(token, n)
	timeout := time.NewTimer(echoTime)
	defer timeout.Stop()
	select {
	case fits := <-heard:
		return fits
	case <-timeout.C: // better one too many than none: the user may not be allowed to hear
		return true
	}
}

// echo answers whoever waits for its own news.
func (t *turns) echo(news slotNews, s *slots) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if heard := t.echoes[news.Token]; heard != nil && news.Take > 0 {
		heard <- !s.overfull(news.Take)
		delete(t.echoes, news.Token)
	}
}

// give tells that one has made no task.
func (t *turns) give(token string, refused bool) {
	t.tell(slotNews{Token: token, Given: true, Refused: refused})
}

// wait tells, now and then and when it changes, which request has been waiting for slots and since when.
func (t *turns) wait(r *request, since, now time.Time) {
	b := bid{priority: r.priority, slots: r.slots, since: since, at: now}
	t.mu.Lock()
	due := now.Sub(t.own.at) >= bidInterval || b.priority != t.own.priority || b.slots != t.own.slots
	if due {
		t.own = b
	}
	t.mu.Unlock()
	if due {
		t.tell(slotNews{Wait: b.slots, Waited: now.Sub(since), Priority: b.priority})
	}
}

// hear takes in what another replica told, or whoever else may publish there: it costs a bounded amount of memory, and
// holds up requests for a bounded time.
func (t *turns) hear(msg *nats.Msg, s *slots, now time.Time) {
	var news slotNews
	if len(msg.Data) > maxNews || json.Unmarshal(msg.Data, &news) != nil || !events.IsToken(news.Replica) {
		return
	}
	switch {
	case news.Replica == t.self:
		t.echo(news, s)
	case news.Take > 0 && news.Take <= maxTake && events.IsToken(news.Token):
		s.taken(news.Token, news.Take, now)
	case news.Given:
		s.given(news.Token, news.Refused, now)
	case news.Wait > 0 && news.Wait <= maxTake:
		t.mu.Lock()
		defer t.mu.Unlock()
		if _, known := t.others[news.Replica]; !known && len(t.others) >= maxOthers {
			t.expire(now)
			if len(t.others) >= maxOthers {
				return
			}
		}
		waited := min(max(news.Waited, 0), maxWaited)
		t.others[news.Replica] = bid{priority: news.Priority, slots: news.Wait, since: now.Add(-waited), at: now}
	}
}

// until is when this replica may take the slot that a request has freed: at once if it comes first of those that wait,
// else after leaving it to each of those before it for a moment.
func (t *turns) until(token string, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	order := turnOrder(token)
	place := func(b bid) int { return slices.Index(order, b.priority) }
	rank, own := 0, weight(token, t.self)
	for name, other := range t.others {
		first := cmp.Or(cmp.Compare(place(other), place(t.own)), cmp.Compare(own, weight(token, name))) < 0
		if first {
			rank++
		}
	}
	if rank == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(min(rank, maxRank)) * turnStep)
}

// turnOrder is the order of priorities for one freed slot: of ten slots, one is for normal and one for low requests
// first, as within a replica.
func turnOrder(token string) []events.Priority {
	switch weight(token, "") % share {
	case 0:
		return []events.Priority{events.PriorityNormal, events.PriorityHigh, events.PriorityLow}
	case 1:
		return []events.Priority{events.PriorityLow, events.PriorityHigh, events.PriorityNormal}
	default:
		return events.Priorities()
	}
}

// yields reports whether another replica has waited so long for several slots that they are left to it. since is when
// this replica's own first request began to wait for several; zero: it does not. What others have told seems later than it
// was, by the time a message takes: of two that have waited alike both may go on, but replicas never all yield.
func (t *turns) yields(since, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	return t.grace.holds(t.starves(since, now), now)
}

// starves reports whether there is such a replica; the caller holds the mutex.
func (t *turns) starves(since, now time.Time) bool {
	for _, b := range t.others {
		if b.slots < 2 || now.Sub(b.since) < starving {
			continue
		}
		if since.IsZero() || b.since.Before(since) {
			return true
		}
	}
	return false
}

// expire forgets replicas that no longer wait; the caller holds the mutex.
func (t *turns) expire(now time.Time) {
	for name, b := range t.others {
		if now.Sub(b.at) > bidLife {
			delete(t.others, name)
		}
	}
}

// weight orders replicas, for each slot differently (rendezvous hashing).
func weight(token, replica string) uint64 {
	sum := sha256.Sum256([]byte(replica + " " + token))
	return binary.BigEndian.Uint64(sum[:])
}
