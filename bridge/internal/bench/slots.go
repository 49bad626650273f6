package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

const (
	slots        = 8
	slotTime     = 300 * time.Millisecond
	noCapacity   = 1303 // Kling's code
	slotRequests = 504  // a multiple of the slots, or some would stand idle at the end for no fault
)

// measureSlots runs more requests than there are slots, and looks at how busy Kling was. Each round's replicas are new and
// have to learn anew how many slots there are.
func measureSlots(ctx context.Context, b *bench) ([]row, error) {
	srv, err := b.startNATS(ctx, "")
	if err != nil {
		return nil, err
	}
	defer srv.stop()
	replicas := []int{1, 3}
	busy, refused, handover := map[int][]pair{}, map[int][]pair{}, map[int][]pair{}
	for round := range b.rounds() {
		b.note("  round %d of %d", round+1, b.rounds())
		for _, n := range replicas {
			got, err := b.fillSlots(ctx, srv, fmt.Sprintf("slots-%d-%d", n, round), n)
			if err != nil {
				return nil, err
			}
			busy[n] = append(busy[n], pair{got.busy, 1})
			refused[n] = append(refused[n], pair{bridge: got.refused})
			handover[n] = append(handover[n], pair{bridge: got.handover})
		}
	}
	var rows []row
	for _, n := range replicas {
		name := fmt.Sprintf("slots in use, 8 slots, 300 ms tasks, replicas: %d", n)
		rows = append(rows,
			b.judge(name, plainly, atLeast(0.98, value), busy[n]),
			b.judge("  answers 1303 per request", plainly, atMost(0.1, value), refused[n]),
			b.judge("  a slot's end to the next create call, p50", seconds, atMost(0.003, value), handover[n]))
	}
	return rows, nil
}

// filled is how slots were used.
type filled struct {
	busy     float64 // share of slot time that tasks took, from the first one's begin to the last one's end
	refused  float64 // answers 1303 per request
	handover float64 // median, in seconds
}

// fillSlots runs requests through the slots.
func (b *bench) fillSlots(ctx context.Context, srv *natsServer, prefix string, replicas int) (got filled, err error) {
	sim, err := klingtest.New(klingtest.Options{
		APIKeys: []string{apiKey}, Slots: map[kling.Pool]int{kling.PoolVideo: slots},
		SubmittedFor: 20 * time.Millisecond, Duration: slotTime,
	})
	if err != nil {
		return filled{}, err
	}
	api := httptest.NewServer(sim)
	defer api.Close()
	defer sim.Close() // first: it lets go of calls
	var subjects subjects.Subjects
	var admins []string
	for range replicas {
		p, err := b.startBridge(ctx, setup{natsURL: srv.url, prefix: prefix, kling: api.URL})
		if err != nil {
			return filled{}, err
		}
		defer p.stop()
		subjects, admins = p.subjects, append(admins, p.admin)
	}
	completed, err := srv.watch(subjects.AllCompletions())
	if err != nil {
		return filled{}, err
	}
	defer func() { _ = completed.sub.Unsubscribe() }()
	n := b.of(slotRequests, slotRequests/3)
	err = srv.publishAll(ctx, n, func(i int) *nats.Msg {
		msg := nats.NewMsg(subjects.Request(kind, events.PriorityNormal))
		msg.Header.Set(events.HeaderRequestID, fmt.Sprintf("order-%d", i))
		msg.Data = []byte(`{"prompt":"` + prompt + `"}`)
		return msg
	})
	if err != nil {
		return filled{}, err
	}
	if _, err := completed.await(ctx, n); err != nil {
		return filled{}, err
	}
	handover, err := medianHandover(ctx, admins)
	return filled{utilisation(sim), float64(sim.Calls().Refused[noCapacity]) / float64(n), handover}, err
}

func utilisation(sim *klingtest.Server) float64 {
	var first, last time.Time
	for _, t := range sim.Tasks() {
		if first.IsZero() || t.CreatedAt.Before(first) {
			first = t.CreatedAt
		}
		if t.EndedAt.After(last) {
			last = t.EndedAt
		}
	}
	return sim.BusySlotTime(kling.PoolVideo).Seconds() / (slots * last.Sub(first).Seconds())
}
