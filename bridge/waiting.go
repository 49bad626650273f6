package bridge

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// waiting expires requests whose deadline passes while they are still in the stream, waiting for capacity, where no
// consumer sees them. Every replica does so; the completion's guard makes it happen once.
//
// It reads each message once, and, unless somebody asks for a request, only those that have waited for a while, so that it
// costs nothing without a backlog. What it has read it finds again by request id.
type waiting struct {
	bus         *bus.Bus
	ledger      *ledger
	dead        *deadLetters
	subjects    events.Subjects
	kinds       kling.Kinds
	log         *slog.Logger
	taskTimeout time.Duration

	mu        sync.Mutex // guards what follows
	next      uint64     // sequence from which nothing was read yet
	deadlines deadlineHeap
	index     requestIndex
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
		if err := w.sweep(ctx, w.bus.Now()); err != nil && ctx.Err() == nil {
			w.log.WarnContext(ctx, "sweep of waiting requests", slog.Any("err", err))
		}
	}
}

func (w *waiting) sweep(ctx context.Context, now time.Time) error {
	readErr := errors.Join(w.read(ctx, now.Add(-patience)), w.prune(ctx))
	for {
		next, ok := w.firstDeadline()
		if !ok || now.Before(next.at) {
			return readErr
		}
		if err := w.expire(ctx, next.seq); err != nil {
			return errors.Join(readErr, err)
		}
		w.passed(next)
	}
}

func (w *waiting) firstDeadline() (d deadline, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.deadlines) == 0 {
		return d, false
	}
	return w.deadlines[0], true
}

// passed takes a deadline off the heap.
func (w *waiting) passed(d deadline) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.deadlines) > 0 && w.deadlines[0] == d {
		heap.Pop(&w.deadlines)
	}
}

// read takes in the messages stored before the given time that it has not read yet.
func (w *waiting) read(ctx context.Context, before time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	first, err := w.bus.Next(ctx, w.subjects.RequestsStream(), w.subjects.AllRequests(), w.next)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && first.Time.After(before) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.bus.Scan(ctx, w.subjects.RequestsStream(), w.subjects.AllRequests(), first.Seq, scanBatch, func(m *bus.Message) bool {
		if m.Time.After(before) {
			return false
		}
		w.takeIn(m)
		return true
	})
}

// takeIn notes the id and the deadline of a message; the caller holds the mutex.
func (w *waiting) takeIn(m *bus.Message) {
	w.next = m.Seq + 1
	req, invalid := w.request(m)
	if req == nil {
		return
	}
	at := req.deadline
	if invalid != nil { // it is rejected as soon as it has waited for a while
		at = m.Time
	}
	heap.Push(&w.deadlines, deadline{at: at, seq: m.Seq})
	w.index.add(req.id, m.Seq)
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

// find returns the request with an id that lies in the stream; nil: none does. An id may come from a header, the body or the
// message's place in the stream, so that it takes one look at each message, though no more than one.
func (w *waiting) find(ctx context.Context, id string) (*waitingRequest, error) {
	if err := w.read(ctx, w.bus.Now().Add(time.Hour)); err != nil {
		return nil, err
	}
	stream, all := w.subjects.RequestsStream(), w.subjects.AllRequests()
	for _, seq := range w.indexed(id) {
		m, err := w.bus.Next(ctx, stream, all, seq)
		if errors.Is(err, bus.ErrNoMessage) || err == nil && m.Seq != seq {
			continue // it has left the stream
		}
		if err != nil {
			return nil, err
		}
		if req, _ := w.request(m); req != nil && req.id == id { // also one that will be rejected
			before, err := w.before(ctx, req)
			return &waitingRequest{msg: m, req: req, before: before}, err
		}
	}
	return nil, nil
}

func (w *waiting) indexed(id string) []uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.index.find(id)
}

// before counts the requests that lie before one in the stream and are of its pool and no less urgent.
func (w *waiting) before(ctx context.Context, r *request) (n int, err error) {
	stream := w.subjects.RequestsStream()
	state, err := w.bus.StateOf(ctx, stream, w.subjects.AllRequests())
	if err != nil {
		return 0, err
	}
	w.forget(state.FirstSeq)
	for subject, total := range state.Subjects {
		parsed, _ := w.subjects.Parse(subject)
		kind, known := w.kinds.Lookup(parsed.Kind)
		if !known || kind.Pool != r.kind.Pool || !noLessUrgent(parsed.Priority, r.priority) {
			continue
		}
		after, err := w.bus.CountFrom(ctx, stream, subject, r.sequence)
		if err != nil {
			return 0, err
		}
		n += int(total - min(after, total))
	}
	return n, nil
}

func noLessUrgent(a, b events.Priority) bool {
	order := events.Priorities()
	return slices.Index(order, a) <= slices.Index(order, b)
}

// prune forgets what has left the stream in front.
func (w *waiting) prune(ctx context.Context) error {
	w.mu.Lock()
	empty := len(w.index.order) == 0
	w.mu.Unlock()
	if empty {
		return nil
	}
	state, err := w.bus.State(ctx, w.subjects.RequestsStream())
	if err == nil {
		w.forget(state.FirstSeq)
	}
	return err
}

// reset begins anew with a stream whose sequences may have begun anew.
func (w *waiting) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.next, w.deadlines, w.index = 0, nil, requestIndex{}
}

// forget drops what lies before the first message of the stream from the index.
func (w *waiting) forget(first uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.index.forget(first)
}

// reject ends an invalid request that waits behind others: it needs no capacity.
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
	return w.ledger.complete(w.ledger.telemetry.resume(ctx, &rec.Trace), rec, e)
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
