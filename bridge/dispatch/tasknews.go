package dispatch

import (
	"cmp"
	"hash/maphash"
	"slices"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// tasksNews is what became of tasks. A replica that stores their events tells the others of many at a time: were each to
// subscribe to the events, all of them would read every one, with all that Kling has said.
type tasksNews struct {
	Begun []begunTask `json:"begun,omitempty"`
	Ended []string    `json:"ended,omitempty"` // tokens of requests that have ended, or whose next try is to be made
}

// begunTask is a task that was announced.
type begunTask struct {
	Account string `json:"account,omitempty"` // empty: the default
	Token   string `json:"token"`             // of its request
	Model   string `json:"model,omitempty"`   // empty: not known
	Take    int    `json:"take,omitempty"`    // slots; absent: one
}

const (
	// newsDelay is how long news of tasks are collected where there are many. After a time of quiet they are told at once.
	newsDelay = 20 * time.Millisecond
	// hastyDelay is newsDelay while other replicas wait for slots.
	hastyDelay = 2 * time.Millisecond
	// maxUntold is of how many tasks one message tells at most.
	maxUntold = 256
	// maxSaid bounds the tasks that other replicas are believed to have begun before a recount has found them.
	maxSaid = 1 << 16
)

// noteBegun adds a task to what is to be told.
func (t *Peers) noteBegun(account, token string, of request.Need) {
	task := begunTask{Account: newsAccount(account), Token: token, Model: of.Model}
	if of.N > 1 {
		task.Take = of.N
	}
	t.note(func(news *tasksNews) { news.Begun = append(news.Begun, task) })
}

// noteEnded adds the end of a task to what is to be told.
func (t *Peers) noteEnded(token string) {
	t.note(func(news *tasksNews) { news.Ended = append(news.Ended, token) })
}

// note adds to what is to be told, of which there is never more than one message has room for: who fills it tells it.
func (t *Peers) note(add func(*tasksNews)) {
	t.mu.Lock()
	add(&t.untold)
	var full tasksNews
	if t.untold.len() >= maxUntold {
		full, t.untold = t.untold, tasksNews{}
	}
	t.mu.Unlock()
	t.sendTasks(full)
}

// tellTasks tells what was collected.
func (t *Peers) tellTasks() {
	t.mu.Lock()
	collected := t.untold
	t.untold = tasksNews{}
	t.mu.Unlock()
	t.sendTasks(collected)
}

func (t *Peers) sendTasks(news tasksNews) {
	if news.len() > 0 {
		t.send(slotNews{tasksNews: news})
	}
}

func (n *tasksNews) len() int { return len(n.Begun) + len(n.Ended) }

// credible reports whether a replica may have told so.
func (n *tasksNews) credible() bool {
	strange := func(b begunTask) bool {
		return !events.IsToken(b.Token) || b.Account != "" && !kling.IsAccountName(b.Account) || !isModel(b.Model) || b.Take < 0 || b.Take > maxTake
	}
	return n.len() <= maxUntold && !slices.ContainsFunc(n.Begun, strange) &&
		!slices.ContainsFunc(n.Ended, func(token string) bool { return !events.IsToken(token) })
}

// apply takes over what another replica has told.
func (n *tasksNews) apply(l ledger, now time.Time) {
	for _, b := range n.Begun {
		l.said(b, now)
	}
	for _, token := range n.Ended {
		l.ended(token, now)
	}
}

// said notes a task that another replica says to have begun.
func (p *Pool) said(b begunTask, now time.Time) {
	of := request.Need{N: max(b.Take, 1), Model: cmp.Or(b.Model, unknownModel)}
	p.put(cmp.Or(b.Account, kling.DefaultAccount), b.Token, of, (*Slots).said, now)
}

// said is hold for a task that only another replica speaks of, until a recount has found it. It does not make what others say any
// more credible.
func (s *Slots) said(token string, of request.Need, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, known := s.used.get(token)
	if u.held && !u.unsure || known && !u.held && !u.foreign || s.hearsay >= maxSaid || now.Before(s.deafUntil) {
		return
	}
	s.put(token, usage{Need: of, held: true, hearsay: true, at: now})
	s.hadRoom(of.Model)
}

// departed remembers for a moment which requests have ended: that their tasks have begun may be told later, by another replica. It
// forgets them before a next try can begin. The zero value remembers none.
//
// Safe for concurrent use.
type departed struct {
	mu     sync.Mutex
	seed   maphash.Seed
	recent map[uint64]struct{} // hashes of tokens
	before map[uint64]struct{} // those of the time before
	turned time.Time
}

// memory is how long departed remembers a request at least, and half of what it does at most: far longer than news take, and
// shorter than a request waits for its next try.
const memory = 400 * time.Millisecond

func (d *departed) add(token string, now time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recent == nil {
		d.seed = maphash.MakeSeed()
	}
	d.turn(now)
	d.recent[maphash.String(d.seed, token)] = struct{}{}
}

func (d *departed) has(token string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.recent == nil {
		return false
	}
	d.turn(now)
	hash := maphash.String(d.seed, token)
	_, recent := d.recent[hash]
	_, before := d.before[hash]
	return recent || before
}

// turn forgets what is too old; the caller holds the mutex.
func (d *departed) turn(now time.Time) {
	switch age := now.Sub(d.turned); {
	case age >= 2*memory:
		d.before, d.recent = nil, map[uint64]struct{}{}
	case age >= memory:
		d.before, d.recent = d.recent, map[uint64]struct{}{}
	default:
		return
	}
	d.turned = now
}
