package chaos_test

import (
	"encoding/json"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// point is a moment in the life of a request. All of them are seen from outside, on NATS or by Kling.
type point string

// The points, in the order of the flow.
const (
	pointIntend    point = "intend"            // the record that precedes the create call is published
	pointCreated   point = "task stored"       // Kling has the task and has not yet said so
	pointWithdraw  point = "withdraw"          // the record of a task that Kling refused for now is deleted
	pointClaim     point = "claim"             // the record that precedes a further create call is published
	pointRecord    point = "record"            // the record with the task id is published
	pointAnnounce  point = "announce"          // the submitted event is published
	pointKeep      point = "original"          // the request as it came is published, beside the event
	pointAck       point = "ack"               // the request is acked
	pointReceived  point = "callback received" // it was sent and is not yet answered
	pointCompleted point = "completion"        // it is published
	pointAnswered  point = "callback answered" // with 2xx
	pointDead      point = "dead letter"       // it is published
	pointDue       point = "due"               // a timer has fired
	pointAsked     point = "poll"              // Kling has been asked and has not yet answered
	pointDelete    point = "due deleted"       // the fired timer is deleted
	pointAnytime   point = "anytime"           // at random
	pointRetry     point = "retry"             // the record of a failed task that will be made again is published
	pointQueued    point = "queued"            // the request is put into the stream for its next try
	pointUpload    point = "upload"            // a part of a large create call has arrived; not in every world
)

func points() []point {
	return []point{
		pointIntend, pointCreated, pointWithdraw, pointClaim, pointRecord, pointAnnounce, pointKeep, pointAck, pointReceived,
		pointCompleted, pointAnswered, pointDead, pointDue, pointAsked, pointDelete, pointAnytime,
	}
}

// needs is the fate of a request that is sure to come to the point; empty: any does.
func (p point) needs() fate {
	switch p {
	case pointWithdraw:
		return fateTooFast
	case pointClaim:
		return fateNoTask
	case pointDead:
		return fateRefused
	case pointRetry, pointQueued:
		return fateFailsOnce
	case pointDue, pointAsked, pointDelete:
		return fateLost
	default:
		return ""
	}
}

// often is how many times at least a batch comes to the point.
func (p point) often() int {
	if p.needs() == "" {
		return 3
	}
	return 1
}

// trap does something, once, when things have come to a point for the n-th time.
type trap struct {
	mu     sync.Mutex
	at     point // empty: not set
	left   int
	spring func()
	sprung chan struct{}
}

// set returns a channel that is closed after spring has returned.
func (tr *trap) set(at point, n int, spring func()) <-chan struct{} {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.at, tr.left, tr.spring, tr.sprung = at, n, spring, make(chan struct{})
	return tr.sprung
}

// pass is called by whoever sees that things have come to a point, with "" when it is none that we look for. What is seen
// goes on after it returns.
func (tr *trap) pass(p point) { tr.passAs(p, func() {}) }

// passAs is pass for whoever has something to say first, should the trap spring.
func (tr *trap) passAs(p point, say func()) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if p == "" || tr.at != p {
		return
	}
	if tr.left--; tr.left > 0 {
		return
	}
	tr.at = ""
	say()
	tr.spring()
	close(tr.sprung)
}

// watch sees on NATS what the replicas write.
func (w *world) watch() {
	w.t.Helper()
	w.subscribe(w.subjects.Put(">"), func(msg *nats.Msg) { w.trap.pass(w.pointOfPut(msg)) })
	w.subscribe("$JS.ACK."+w.subjects.RequestsStream()+".>", func(msg *nats.Msg) {
		if string(msg.Data) == "+ACK" {
			w.trap.pass(pointAck)
		}
	})
	w.subscribe("$JS.API.STREAM.MSG.DELETE."+w.subjects.EventsStream(), func(msg *nats.Msg) {
		w.trap.pass(w.pointOfDelete(msg))
	})
	w.subscribe(w.subjects.AllRequests(), func(msg *nats.Msg) {
		if msg.Header.Get(request.HeaderFence) != "" {
			w.trap.pass(pointQueued)
		}
	})
	w.subscribe(w.subjects.AllDead(), func(*nats.Msg) { w.trap.pass(pointDead) })
	w.watchTimers()
}

func (w *world) subscribe(subject string, handle nats.MsgHandler) {
	w.t.Helper()
	sub, err := w.nc.Subscribe(subject, handle)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		w.t.Fatalf("subscribe to %s: %v", subject, err)
	}
}

// pointOfPut says what a message on its way into the stream of events is; empty: nothing we look for.
func (w *world) pointOfPut(msg *nats.Msg) point {
	parsed, _ := w.subjects.Parse(strings.TrimPrefix(msg.Subject, w.subjects.Put("")))
	switch parsed.Type {
	case events.TypeCompletion:
		return pointCompleted
	case events.TypeProgress:
		if parsed.Status == events.StatusSubmitted {
			return pointAnnounce
		}
	case subjects.TypeOriginal:
		return pointKeep
	case subjects.TypePending:
		return pointOfRecord(msg.Data)
	}
	return ""
}

func pointOfRecord(data []byte) point {
	var rec struct {
		State   string `json:"state"`
		Attempt int    `json:"attempt"`
		Polls   int    `json:"polls"`
	}
	switch err := json.Unmarshal(data, &rec); {
	case err != nil:
		return ""
	case rec.State == "retrying":
		return pointRetry
	case rec.State == "creating" && rec.Attempt == 1:
		return pointIntend
	case rec.State == "creating":
		return pointClaim
	case rec.Polls == 0:
		return pointRecord
	default:
		return ""
	}
}

// pointOfDelete tells the two things that are deleted apart: fired timers and withdrawn records.
func (w *world) pointOfDelete(msg *nats.Msg) point {
	var req struct {
		Seq uint64 `json:"seq"`
	}
	if err := json.Unmarshal(msg.Data, &req); err != nil {
		return ""
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fired[req.Seq] {
		return pointDelete
	}
	return pointWithdraw
}

// watchTimers sees timers fire, which the server does by itself. It asks again and again rather than have a consumer:
// that would have to be made anew whenever its server stops.
func (w *world) watchTimers() {
	var watching sync.WaitGroup
	w.t.Cleanup(watching.Wait)
	watching.Go(func() {
		for seq := uint64(1); w.ctx.Err() == nil; {
			m, err := w.bus.Next(w.ctx, w.subjects.EventsStream(), w.subjects.AllDue(), seq)
			if err != nil {
				w.wait(tick) // there is none, or nobody to ask
				continue
			}
			seq = m.Seq + 1
			w.mu.Lock()
			w.fired[m.Seq] = true
			w.mu.Unlock()
			w.trap.pass(pointDue)
		}
	})
}
