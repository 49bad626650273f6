package bridge

import (
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// requestStream knows the requests that lie in the stream: by their ids, and by their deadlines.
//
// It reads each message once, and, unless somebody asks for a request, only those that have waited for a while, so that it
// costs nothing without a backlog.
//
// Safe for concurrent use.
type requestStream struct {
	bus         *bus.Bus
	subjects    events.Subjects
	kinds       kling.Kinds
	taskTimeout time.Duration

	mu        sync.Mutex // guards what follows
	next      uint64     // sequence from which nothing was read yet
	deadlines deadlineHeap
	index     requestIndex
}

// deadline is that of one message.
type deadline struct {
	at  time.Time
	seq uint64
}

// waitingRequest is a request as it lies in the stream.
type waitingRequest struct {
	msg     *bus.Message
	req     *request
	invalid error // why it can't become a task; nil for most
	before  int   // requests of its pool that came earlier and are no less urgent; only of find
}

// scanBatch is how many requests are read at a time in search of one.
const scanBatch = 1000

// firstDeadline returns the earliest deadline that was read.
func (s *requestStream) firstDeadline() (d deadline, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.deadlines) == 0 {
		return d, false
	}
	return s.deadlines[0], true
}

// passed takes the earliest deadline off.
func (s *requestStream) passed(d deadline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.deadlines) > 0 && s.deadlines[0] == d {
		heap.Pop(&s.deadlines)
	}
}

// read takes in the messages stored before the given time that it has not read yet.
func (s *requestStream) read(ctx context.Context, before time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	stream, all := s.subjects.RequestsStream(), s.subjects.AllRequests()
	first, err := s.bus.Next(ctx, stream, all, s.next)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && first.Time.After(before) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.bus.Scan(ctx, stream, all, first.Seq, scanBatch, func(m *bus.Message) bool {
		if m.Time.After(before) {
			return false
		}
		s.takeIn(m)
		return true
	})
}

// takeIn notes the id and the deadline of a message; the caller holds the mutex.
func (s *requestStream) takeIn(m *bus.Message) {
	s.next = m.Seq + 1
	r := s.parse(m)
	if r == nil {
		return
	}
	at := r.req.deadline
	if r.invalid != nil { // it is rejected as soon as it has waited for a while
		at = m.Time
	}
	heap.Push(&s.deadlines, deadline{at: at, seq: m.Seq})
	s.index.add(r.req.id, m.Seq)
}

// parse reads a message of the stream; nil: it is no request of a kind that is known.
func (s *requestStream) parse(m *bus.Message) *waitingRequest {
	parsed, ok := s.subjects.Parse(m.Subject)
	kind, known := s.kinds.Lookup(parsed.Kind)
	if !ok || !known {
		return nil
	}
	req, invalid := parseRequest(rawRequest{
		kind: kind, priority: parsed.Priority, header: m.Header, data: m.Data, sequence: m.Seq, storedAt: m.Time,
	}, s.taskTimeout)
	return &waitingRequest{msg: m, req: req, invalid: invalid}
}

// at returns the request of a sequence; nil: it has left the stream.
func (s *requestStream) at(ctx context.Context, seq uint64) (*waitingRequest, error) {
	m, err := s.bus.Next(ctx, s.subjects.RequestsStream(), s.subjects.AllRequests(), seq)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && m.Seq != seq {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.parse(m), nil
}

// find returns the request with an id that lies in the stream; nil: none does. An id may come from a header, the body or the
// message's place in the stream, so that it takes one look at each message, though no more than one.
func (s *requestStream) find(ctx context.Context, id string) (*waitingRequest, error) {
	if err := s.read(ctx, s.bus.Now().Add(time.Hour)); err != nil {
		return nil, err
	}
	for _, seq := range s.indexed(id) {
		r, err := s.at(ctx, seq)
		if err != nil {
			return nil, err
		}
		if r != nil && r.req.id == id { // also one that will be rejected
			r.before, err = s.before(ctx, r.req)
			return r, err
		}
	}
	return nil, nil
}

func (s *requestStream) indexed(id string) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.find(id)
}

// before counts the requests that lie before one in the stream and are of its pool and no less urgent.
func (s *requestStream) before(ctx context.Context, r *request) (n int, err error) {
	stream := s.subjects.RequestsStream()
	state, err := s.bus.StateOf(ctx, stream, s.subjects.AllRequests())
	if err != nil {
		return 0, err
	}
	s.forget(state.FirstSeq)
	for subject, total := range state.Subjects {
		parsed, _ := s.subjects.Parse(subject)
		kind, known := s.kinds.Lookup(parsed.Kind)
		if !known || kind.Pool != r.kind.Pool || !noLessUrgent(parsed.Priority, r.priority) {
			continue
		}
		after, err := s.bus.CountFrom(ctx, stream, subject, r.sequence)
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
func (s *requestStream) prune(ctx context.Context) error {
	s.mu.Lock()
	empty := len(s.index.order) == 0
	s.mu.Unlock()
	if empty {
		return nil
	}
	state, err := s.bus.State(ctx, s.subjects.RequestsStream())
	if err == nil {
		s.forget(state.FirstSeq)
	}
	return err
}

// reset begins anew with a stream whose sequences may have begun anew.
func (s *requestStream) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.deadlines, s.index = 0, nil, requestIndex{}
}

// forget drops what lies before the first message of the stream from the index.
func (s *requestStream) forget(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.forget(first)
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
