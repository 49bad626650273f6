package bridge

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// waiting expires requests whose deadline passes while they are still in the stream, waiting for capacity, where no
// consumer sees them. Every replica does so; the completion's guard makes it happen once.
//
// It reads each message once, and only those that have waited for a while, so that it costs nothing without a backlog.
type waiting struct {
	bus         *bus.Bus
	ledger      *ledger
	dead        *deadLetters
	subjects    events.Subjects
	kinds       kling.Kinds
	log         *slog.Logger
	taskTimeout time.Duration

	next      uint64 // sequence from which nothing was read yet
	deadlines deadlineHeap
}

const (
	// waitingSweep is how often the stream is looked at. A request expires at most this much late, and never before it
	// has waited for patience.
	waitingSweep = 15 * time.Second
	patience     = 20 * time.Second
)

type deadline struct {
	at  time.Time
	seq uint64
}

// run sweeps until ctx ends.
func (w *waiting) run(ctx context.Context) {
	for sleep(ctx, waitingSweep) {
		if err := w.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "sweep of waiting requests", slog.Any("err", err))
		}
	}
}

func (w *waiting) sweep(ctx context.Context, now time.Time) error {
	readErr := w.read(ctx, now.Add(-patience))
	for len(w.deadlines) > 0 && !now.Before(w.deadlines[0].at) {
		if err := w.expire(ctx, w.deadlines[0].seq); err != nil {
			return errors.Join(readErr, err)
		}
		heap.Pop(&w.deadlines)
	}
	return readErr
}

// read notes the deadlines of messages stored before the given time.
func (w *waiting) read(ctx context.Context, before time.Time) error {
	for {
		m, err := w.bus.Next(ctx, w.subjects.RequestsStream(), w.subjects.AllRequests(), w.next)
		if errors.Is(err, bus.ErrNoMessage) {
			return nil
		}
		if err != nil {
			return err
		}
		if m.Time.After(before) {
			return nil
		}
		w.next = m.Seq + 1
		if req, invalid := w.request(m); invalid != nil {
			heap.Push(&w.deadlines, deadline{at: m.Time, seq: m.Seq})
		} else if req != nil {
			heap.Push(&w.deadlines, deadline{at: req.deadline, seq: m.Seq})
		}
	}
}

func (w *waiting) request(m *bus.Message) (*request, error) {
	parsed, ok := w.subjects.Parse(m.Subject)
	kind, known := w.kinds.Lookup(parsed.Kind)
	if !ok || !known {
		return nil, nil
	}
	return parseRequest(rawRequest{
		kind: kind, priority: parsed.Priority, header: m.Header, data: m.Data, sequence: m.Seq, storedAt: m.Time,
	}, w.taskTimeout)
}

// expire ends a request that is still in the stream and that nothing is known of.
func (w *waiting) expire(ctx context.Context, seq uint64) error {
	m, err := w.bus.Next(ctx, w.subjects.RequestsStream(), w.subjects.AllRequests(), seq)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && m.Seq != seq {
		return nil // it has left the stream
	}
	if err != nil {
		return err
	}
	req, invalid := w.request(m)
	switch {
	case req == nil:
		return nil
	case invalid != nil:
		return w.reject(ctx, m, req, &events.Error{Class: events.ErrorInvalid, Message: invalid.Error()})
	}
	_, err = w.settle(ctx, m, req, expired())
	return err
}

// settle ends a request that nothing is known of and takes it off the stream, where it would only be in the way of
// others. A replica that holds it finds it ended, too.
func (w *waiting) settle(ctx context.Context, m *bus.Message, req *request, e ending) (first bool, err error) {
	first, err = w.end(ctx, m, req, e)
	if err != nil || !first {
		return false, err
	}
	return true, w.bus.Delete(ctx, w.subjects.RequestsStream(), m.Seq)
}

// waitingRequest is a request as it lies in the stream.
type waitingRequest struct {
	msg    *bus.Message
	req    *request
	before int // requests of its pool that came earlier and are no less urgent
}

// scanBatch is how many requests are read at a time in search of one.
const scanBatch = 1000

// find reads the stream for the request with an id. There is no index by id: it may come from a header, the body or the
// message's place in the stream.
func (w *waiting) find(ctx context.Context, id string) (found *waitingRequest, err error) {
	stream, all := w.subjects.RequestsStream(), w.subjects.AllRequests()
	passed := map[queue]int{}
	err = w.bus.Scan(ctx, stream, all, 1, scanBatch, func(m *bus.Message) bool {
		given := givenID(m.Header)
		if given != "" && usableID(given) != id {
			passed[w.queueOf(m)]++
			return true
		}
		if req, _ := w.request(m); req != nil && req.id == id { // also one that will be rejected
			found = &waitingRequest{msg: m, req: req}
		}
		return found == nil
	})
	if found != nil {
		found.before = before(passed, queue{found.req.kind.Pool, found.req.priority})
	}
	return found, err
}

// queue is what requests wait in.
type queue struct {
	pool     kling.Pool
	priority events.Priority
}

func (w *waiting) queueOf(m *bus.Message) queue {
	parsed, _ := w.subjects.Parse(m.Subject)
	kind, _ := w.kinds.Lookup(parsed.Kind)
	return queue{kind.Pool, parsed.Priority}
}

// before sums up what waits in a queue and in the more urgent ones of the same pool.
func before(waiting map[queue]int, q queue) (n int) {
	for _, priority := range events.Priorities() {
		n += waiting[queue{q.pool, priority}]
		if priority == q.priority {
			break
		}
	}
	return n
}

// reject ends an invalid request that should have been rejected long ago: the client library takes an empty message
// with a header Status for an answer of the server's and never delivers it.
func (w *waiting) reject(ctx context.Context, m *bus.Message, req *request, why *events.Error) error {
	if _, err := w.end(ctx, m, req, ending{
		status: events.StatusRejected, source: events.SourceBridge, message: why.Message, err: why,
	}); err != nil {
		return err
	}
	if err := w.dead.bury(ctx, req, m.Header, m.Data, why); err != nil {
		return err
	}
	return w.bus.Delete(ctx, w.subjects.RequestsStream(), m.Seq)
}

func (w *waiting) end(ctx context.Context, m *bus.Message, req *request, e ending) (first bool, err error) {
	rec := &record{
		Version: recordVersion, RequestID: req.id, Kind: req.kind.Name, Owner: m.Seq, RequestedAt: req.requestedAt,
		Deadline: req.deadline, Metadata: req.metadata, ReplayOf: req.replayOf, Trace: w.ledger.telemetry.carryHeaders(m.Header),
	}
	e.untouched = true
	return w.ledger.complete(w.ledger.telemetry.resume(ctx, rec), rec, e)
}

// deadlineHeap is a heap of deadlines, the earliest first.
type deadlineHeap []deadline

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h deadlineHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements [heap.Interface].
func (h *deadlineHeap) Push(x any) { *h = append(*h, x.(deadline)) }

// Pop implements [heap.Interface].
func (h *deadlineHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	*h = old[:len(old)-1]
	return last
}
