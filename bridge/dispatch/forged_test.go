package dispatch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// TestForgedNews has somebody who is no replica tell of slots all the time, in ways that hold requests up as long as
// they are believed. Kling has room for all requests.
func TestForgedNews(t *testing.T) {
	const (
		step     = 100 * time.Millisecond
		requests = 100
		longest  = maxGrace + time.Minute // for all of them
	)
	floods := map[string]func(i int) []slotNews{
		"reserves": func(i int) []slotNews {
			return []slotNews{{Replica: "x", Token: fmt.Sprint(i), Take: maxTake}}
		},
		"reserves and gives back": func(i int) []slotNews {
			return []slotNews{{Replica: "x", Token: fmt.Sprint(i), Take: maxTake}, {Replica: "x", Token: fmt.Sprint(i - 50), Given: true}}
		},
		"waits for several": func(i int) []slotNews {
			return []slotNews{{Replica: fmt.Sprint("r", i%50), Wait: maxTake, Waited: maxWaited}}
		},
		"is refused": func(i int) []slotNews {
			return []slotNews{{Replica: "x", Token: fmt.Sprint(i), Given: true, Refused: true}}
		},
		"begins": func(i int) []slotNews {
			return []slotNews{{Replica: "x", tasksNews: tasksNews{Begun: []begunTask{{Token: fmt.Sprint(i), Take: maxTake}}}}}
		},
		"begins and ends": func(i int) []slotNews {
			return []slotNews{{Replica: "x", tasksNews: tasksNews{
				Begun: []begunTask{{Token: fmt.Sprint(i), Take: maxTake}}, Ended: []string{fmt.Sprint(i - 50)},
			}}}
		},
		"all of it": func(i int) []slotNews {
			return []slotNews{
				{Replica: "x", tasksNews: tasksNews{Begun: []begunTask{{Token: fmt.Sprint("b", i), Take: maxTake}}}},
				{Replica: "x", Token: fmt.Sprint(i), Take: maxTake}, {Replica: "x", Token: fmt.Sprint(i - 50), Given: true, Refused: true},
				{Replica: fmt.Sprint("r", i%50), Wait: maxTake, Waited: maxWaited, Priority: events.PriorityHigh},
			}
		},
	}
	pools := map[string]func(*Slots, time.Time){
		"unknown limit":    func(*Slots, time.Time) {},
		"configured bound": func(s *Slots, _ time.Time) { s.bound = 2 },
		"learned limit":    func(s *Slots, now time.Time) { s.limit, s.probed, s.probeAt = 2, now, now },
		"limit of zero":    func(s *Slots, now time.Time) { s.limit, s.probed, s.probeAt = 0, now, now },
	}
	for flood, news := range floods {
		for name, prepare := range pools {
			t.Run(flood+", "+name, func(t *testing.T) {
				p := testPool(accept)
				began := time.Now()
				prepare(p.all[0].Slots, began)
				for i := range requests {
					j := testJob(t, fmt.Sprintf("real-%d", i), "text2video", events.PriorityNormal)
					j.told = true // there is nobody to tell
					p.add(j)
				}
				started := 0
				for i := 0; started < requests; i++ {
					now := began.Add(time.Duration(i) * step)
					if now.Sub(began) > longest {
						t.Fatalf("after %s %d of %d requests were started", now.Sub(began), started, requests)
					}
					if i%int(recountInterval/step) == 0 {
						p.all[0].Slots.beginRecount()
						p.all[0].Slots.endRecount(now)
					}
					for _, n := range news(i) {
						p.turns.hear(told(n), p, now)
					}
					for j := p.next(now); j != nil; j = p.next(now) {
						p.run(j)
						started++
					}
				}
			})
		}
	}
}

// TestForgedNewsTakeBoundedMemory tells of ever more requests and replicas, and of some that can be none.
func TestForgedNewsTakeBoundedMemory(t *testing.T) {
	p := NewPool(kling.PoolVideo, []*Share{{Account: kling.DefaultAccount, Slots: NewSlots(0)}}, NewPeers(nil, "", "a"), nil, nil)
	now := time.Now()
	for i := range 3 * maxForeign {
		p.turns.hear(told(slotNews{Replica: fmt.Sprint("r", i), Wait: 1}), p, now)
		p.turns.hear(told(slotNews{Replica: "r", Token: fmt.Sprint("t", i), Take: 1}), p, now)
	}
	if n := p.all[0].Slots.used.len(); n > maxForeign {
		t.Errorf("%d reservations are kept", n)
	}
	for i := range 2 * maxSaid / maxUntold {
		var news tasksNews
		for n := range maxUntold {
			news.Begun = append(news.Begun, begunTask{Token: fmt.Sprint("b", i*maxUntold+n)})
		}
		p.turns.hear(told(slotNews{Replica: "r", tasksNews: news}), p, now)
	}
	if n := p.all[0].Slots.used.len(); n > maxForeign+maxSaid {
		t.Errorf("%d reservations and tasks are kept", n)
	}
	if n := len(p.turns.others); n > maxOthers {
		t.Errorf("%d replicas are kept", n)
	}
	for _, n := range []slotNews{
		{Replica: "r", Take: 1}, {Replica: "r", Token: "a.b", Take: 1}, {Replica: "r", Token: string(make([]byte, 65)), Take: 1},
		{Wait: 1}, {Replica: "a b", Wait: 1},
		{Replica: "r", tasksNews: tasksNews{Begun: []begunTask{{Token: "a.b"}}}},
		{Replica: "r", tasksNews: tasksNews{Begun: []begunTask{{Token: "a"}, {Token: "b", Take: maxTake + 1}}}},
		{Replica: "r", tasksNews: tasksNews{Begun: []begunTask{{Token: "a", Account: "no account"}}}},
		{Replica: "r", tasksNews: tasksNews{Begun: []begunTask{{Token: "a"}}, Ended: []string{""}}},
		{Replica: "r", tasksNews: tasksNews{Begun: slices.Repeat([]begunTask{{Token: "a"}}, maxUntold+1)}},
	} {
		s, turns := NewSlots(0), NewPeers(nil, "", "a")
		turns.hear(told(n), lone{s}, now)
		if s.used.len()+len(turns.others) > 0 {
			t.Errorf("%+v is believed", n)
		}
	}
}

func (h *holdings) len() int { return len(h.reserved) + len(h.tasks) }
