package dispatch

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// What is in this file is who takes a freed slot first, of replicas that wait.

// bidder is a replica and what it waits for.
type bidder struct {
	replica string
	want
}

// bid is what a replica that waits has told.
type bid struct {
	priority events.Priority // of its first request
	slots    int             // that this needs
	since    time.Time       // it has been the first
	at       time.Time       // told or heard
}

// wait tells, now and then and when it changes, which request has been waiting for slots, and since when.
func (t *Peers) wait(w want, r *request.Request, since, now time.Time) {
	b := bid{priority: r.Priority, slots: r.Slots, since: since, at: now}
	t.mu.Lock()
	last := t.own[w]
	due := now.Sub(last.at) >= bidInterval || b.priority != last.priority || b.slots != last.slots
	if due {
		t.own[w] = b
	}
	t.mu.Unlock()
	if due {
		t.tell(slotNews{Account: w.account, Model: w.model, Wait: b.slots, Waited: now.Sub(since), Priority: b.priority})
	}
}

// retract tells what nothing waits for here any more, of what others were told: else they would leave slots to nobody.
func (t *Peers) retract(waits func(want) bool) {
	var gone []want
	t.mu.Lock()
	for w := range t.own {
		if !waits(w) {
			gone = append(gone, w)
			delete(t.own, w)
		}
	}
	t.mu.Unlock()
	for _, w := range gone {
		t.tell(slotNews{Account: w.account, Model: w.model, Gone: true})
	}
}

// isBid tells news of a replica that waits, or no longer does.
func (n *slotNews) isBid() bool { return n.Gone || n.Wait > 0 && n.Wait <= maxTake }

// hearBid notes that another replica waits, or no longer does.
func (t *Peers) hearBid(news slotNews, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	who := bidder{news.Replica, want{news.Account, news.Model}}
	if news.Gone {
		delete(t.others, who)
		return
	}
	if _, known := t.others[who]; !known && len(t.others) >= maxOthers {
		t.expire(now)
		if len(t.others) >= maxOthers {
			return
		}
	}
	waited := min(max(news.Waited, 0), maxWaited)
	t.others[who] = bid{priority: news.Priority, slots: news.Wait, since: now.Add(-waited), at: now}
}

// until is when this replica may take the slot that a request has freed, of a task of that account and model: at once if it
// comes first of those that wait, else after leaving it to each of those before it for a moment.
func (t *Peers) until(token string, freed want, now time.Time) time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	if len(t.others) == 0 {
		return time.Time{}
	}
	order := turnOrder(token)
	urgency := func(b bid) int { return slices.Index(order, b.priority) }
	own := weight(token, t.self)
	var mine bid // the last that this slot is good for
	for w, b := range t.own {
		if w.takes(freed) && b.at.After(mine.at) {
			mine = b
		}
	}
	before := map[string]bool{}
	for who, other := range t.others {
		if who.takes(freed) && cmp.Or(cmp.Compare(urgency(other), urgency(mine)), cmp.Compare(own, weight(token, who.replica))) < 0 {
			before[who.replica] = true
		}
	}
	if len(before) == 0 {
		return time.Time{}
	}
	return now.Add(time.Duration(min(len(before), maxRank)) * turnStep)
}

// takes reports whether who waits so would take a slot of an account and a model.
func (w want) takes(freed want) bool {
	return (w.model == "" || w.model == freed.model) && (w.account == "" || w.account == freed.account)
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

// yields returns what another replica has waited so long for several slots of that it is left to it; empty: it waits for the
// pool, and all are left to it. since is when this replica's own first request began to wait for several, likewise; absent:
// none does. What others have told seems later than it was, by the time a message
// takes: of two that have waited alike both may go on, but replicas never all yield.
func (t *Peers) yields(since map[want]time.Time, now time.Time) map[want]bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.expire(now)
	starve := t.starve(since, now)
	if !t.grace.holds(len(starve) > 0, now) {
		return nil
	}
	return starve
}

// starve returns what there is such a replica for; the caller holds the mutex.
func (t *Peers) starve(since map[want]time.Time, now time.Time) map[want]bool {
	starve := map[want]bool{}
	for who, b := range t.others {
		if b.slots < 2 || now.Sub(b.since) < starving {
			continue
		}
		if own, waits := since[who.want]; !waits || b.since.Before(own) {
			starve[who.want] = true
		}
	}
	return starve
}

// expire forgets replicas that no longer wait; the caller holds the mutex.
func (t *Peers) expire(now time.Time) {
	maps.DeleteFunc(t.others, func(_ bidder, b bid) bool { return now.Sub(b.at) > bidLife })
	maps.DeleteFunc(t.own, func(_ want, b bid) bool { return now.Sub(b.at) > bidLife })
}

// weight orders replicas, for each slot differently (rendezvous hashing).
func weight(token, replica string) uint64 {
	sum := sha256.Sum256([]byte(replica + " " + token))
	return binary.BigEndian.Uint64(sum[:])
}
