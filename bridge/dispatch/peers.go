package dispatch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// Peers is how replicas that wait for the same pool keep out of each other's way. Each tells the others what it is about
// to send, and whether it waits; of those that wait, each freed slot has an order in which they may take it. All of it
// is plain messages that may be lost, and none of it is needed: without them replicas race for a slot, and Kling refuses
// the loser.
//
// Safe for concurrent use.
type Peers struct {
	publish func(subject string, data []byte) error
	cluster func() string // of NATS servers; empty: there is one server, whose order is everybody's
	subject string
	self    string // names this replica

	mu     sync.Mutex
	clock  uint64                   // counts announcements, those heard too: who has heard of one comes after it
	others map[bidder]bid           // of replicas that wait
	own    map[want]bid             // told last
	echoes map[string]chan standing // by token: who waits for its own news to come back
	grace  trust                    // for replicas that are said to wait for several slots
	untold tasksNews                // what became of tasks, and is to be told
}

// slotNews is what replicas tell each other about a pool.
type slotNews struct {
	Replica string        `json:"replica"`
	Account string        `json:"account,omitempty"` // that is taken from or given to; empty: the default. Of one that waits: the only one that will do
	Token   string        `json:"token,omitempty"`   // of the request that takes or gives
	Model   string        `json:"model,omitempty"`   // of that, or which has no slot for what waits; empty: not known, or the pool
	Take    int           `json:"take,omitempty"`    // slots, for a create call
	Clock   uint64        `json:"clock,omitempty"`   // with Take: see Peers; absent: before all others
	Given   bool          `json:"given,omitempty"`   // the call made no task
	Refused bool          `json:"full,omitempty"`    // because Kling had no capacity
	Wait    int           `json:"wait,omitempty"`    // slots, for which there is no room
	Waited  time.Duration `json:"waited,omitempty"`  // for them
	Gone    bool          `json:"gone,omitempty"`    // the replica waits no longer for slots of this account and model

	Priority events.Priority `json:"priority,omitempty"` // of the request that waits
	tasksNews
}

const (
	// turnStep is how long a freed slot is left to each of the replicas that come first: well above the time a message
	// takes, well below that of a task.
	turnStep = 25 * time.Millisecond
	maxRank  = 8
	// bidInterval is how often a replica that goes on waiting says so, and bidLife how long that counts.
	bidInterval = 500 * time.Millisecond
	bidLife     = 5 * bidInterval
	// maxNews is the longest message that is read: as long as one with maxUntold tasks may be.
	maxNews = 64 << 10
	// maxTake is what a request takes at most.
	maxTake = request.MaxImages
	// maxWaited bounds what is believed of a replica's patience.
	maxWaited = 24 * time.Hour
	// echoTime bounds the wait for the own news to come back.
	echoTime = time.Second
	// maxClock keeps clocks alike that somebody has set forward as far as they go.
	maxClock = 1 << 62
	// starving is how long a request that needs several slots waits before others leave them to it.
	starving = 5 * time.Second
	// maxGrace is how long they do so. Slots come free as tasks end, in less time than that.
	maxGrace = 2 * time.Minute
	// maxOthers bounds the replicas that are believed to wait.
	maxOthers = 1024
)

// NewPeers exchanges news with other replicas on a subject; self names this one.
func NewPeers(nc *nats.Conn, subject, self string) *Peers {
	return &Peers{
		publish: nc.Publish, cluster: nc.ConnectedClusterName, subject: subject, self: self, others: map[bidder]bid{}, own: map[want]bid{}, echoes: map[string]chan standing{},
		grace: trust{most: maxGrace},
	}
}

// tell publishes news, with what became of tasks before. While NATS is away they are lost, but nothing can be sent to Kling either.
func (t *Peers) tell(news slotNews) {
	t.mu.Lock()
	news.tasksNews, t.untold = t.untold, tasksNews{}
	t.mu.Unlock()
	t.send(news)
}

// send publishes news as they are.
func (t *Peers) send(news slotNews) {
	news.Replica = t.self
	if data, err := json.Marshal(news); err == nil {
		_ = t.publish(t.subject, data)
	}
}

// take tells that a create call is about to be sent, and returns its place in the order of all.
func (t *Peers) take(account, token string, of request.Need) place {
	t.mu.Lock()
	t.clock = min(t.clock+1, maxClock)
	at := place{t.clock, token}
	t.mu.Unlock()
	t.tell(slotNews{Account: newsAccount(account), Token: token, Model: of.Model, Take: of.N, Clock: at.clock})
	return at
}

// newsAccount leaves out what goes without saying to replicas that know one account only.
func newsAccount(account string) string {
	if account == kling.DefaultAccount {
		return ""
	}
	return account
}

// contested reports whether other replicas wait for slots.
func (t *Peers) contested(now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	return len(t.others) > 0
}

// takeInOrder is take where others may take the same slots. It waits until the news has come back, and with it all that
// other replicas told before, and reports whether there is room for all of it.
//
// Servers of a cluster have no order in common: of two announcements each replica may hear its own first. There a request
// that a configured bound holds for waits a moment longer, until it has heard of all that crossed it, and leaves the room to
// those that come before it in an order of the replicas' own.
func (t *Peers) takeInOrder(account, token string, of request.Need, l ledger) standing {
	heard := make(chan standing, 1)
	t.mu.Lock()
	t.echoes[token] = heard
	t.mu.Unlock()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.echoes, token)
	}()
	at := t.take(account, token, of)
	timeout := time.NewTimer(echoTime)
	defer timeout.Stop()
	select {
	case is := <-heard:
		if t.cluster() == "" || !l.bounded(account) {
			return is
		}
	case <-timeout.C: // better one too many than none: the user may not be allowed to hear
		return stands
	}
	timeout.Reset(turnStep)
	<-timeout.C
	return l.standing(account, at, of.N)
}

// echo answers whoever waits for its own news.
func (t *Peers) echo(news slotNews, account string, l ledger) {
	if s := l.slots(account); s != nil && news.Take > 0 {
		s.told(place{news.Clock, news.Token})
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if heard := t.echoes[news.Token]; heard != nil && news.Take > 0 {
		heard <- l.standing(account, afterAll(news.Token), news.Take)
		delete(t.echoes, news.Token)
	}
}

// give tells that one has made no task.
func (t *Peers) give(account, token, model string, refused bool) {
	t.tell(slotNews{Account: newsAccount(account), Token: token, Model: model, Given: true, Refused: refused})
}

// ledger counts the slots of accounts.
type ledger interface {
	slots(account string) *Slots // nil: the account is not known
	bounded(account string) bool // there is a configured bound, on the account or on all
	standing(account string, at place, n int) standing
	said(of begunTask, now time.Time) // by another replica
	ended(token string, now time.Time)
}

// hear takes in what another replica told, or whoever else may publish there: it costs a bounded amount of memory, and
// holds up requests for a bounded time. It returns the tokens of requests that are said to have ended.
func (t *Peers) hear(msg *nats.Msg, l ledger, now time.Time) (ended []string) {
	news, ok := readNews(msg.Data)
	if !ok {
		return nil
	}
	if news.Replica != t.self {
		news.apply(l, now)
		ended = news.Ended
	}
	of := request.Need{N: news.Take, Model: cmp.Or(news.Model, unknownModel)}
	account := cmp.Or(news.Account, kling.DefaultAccount)
	s := l.slots(account)
	switch {
	case news.Replica == t.self:
		t.echo(news, account, l)
	case news.isBid():
		t.hearBid(news, now)
	case s == nil:
	case news.Take > 0 && news.Take <= maxTake && events.IsToken(news.Token):
		t.follow(news.Clock)
		s.taken(place{news.Clock, news.Token}, of, now)
	case news.Given:
		s.given(news.Token, of.Model, news.Refused, now)
	}
	return ended
}

// knows reports whether a message is this replica's own and nobody waits for it to come back: there is nothing to hear in it.
// Most are.
func (t *Peers) knows(data []byte) bool {
	rest, ok := bytes.CutPrefix(data, []byte(`{"replica":"`))
	if n := len(t.self); !ok || len(rest) <= n || string(rest[:n]) != t.self || rest[n] != '"' {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.echoes) == 0
}

// follow sets the clock to what was heard, if that is later.
func (t *Peers) follow(clock uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.clock = min(max(t.clock, clock), maxClock)
}

// readNews reads what may come from anybody.
func readNews(data []byte) (news slotNews, ok bool) {
	if len(data) > maxNews || json.Unmarshal(data, &news) != nil || !events.IsToken(news.Replica) {
		return news, false
	}
	if news.Account != "" && !kling.IsAccountName(news.Account) {
		return news, false
	}
	return news, isModel(news.Model) && news.credible()
}

// isModel reports whether news may name a model so, or none.
func isModel(name string) bool { return name == "" || request.IsModel(name) }
