package request

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// Stream knows the requests that lie in the stream: by their ids, and by their deadlines. Make it with [NewStream].
//
// It reads each message once, and, unless somebody asks for a request, only those that have waited for a while, so that it
// costs nothing without a backlog.
//
// Safe for concurrent use.
type Stream struct {
	Bus      *bus.Bus
	Subjects subjects.Subjects
	Kinds    kling.Kinds
	Defaults Defaults

	reading chan struct{} // has room for whoever reads: a read may take long, and others have little time

	mu        sync.Mutex // guards what follows
	next      uint64     // sequence from which nothing was read yet
	deadlines deadlineHeap
	index     requestIndex
}

// NewStream reads requests of the known kinds. by is for those that say nothing themselves.
func NewStream(b *bus.Bus, s subjects.Subjects, kinds kling.Kinds, by Defaults) *Stream {
	return &Stream{Bus: b, Subjects: s, Kinds: kinds, Defaults: by, reading: make(chan struct{}, 1)}
}

// deadline is that of one message.
type deadline struct {
	At  time.Time
	Seq uint64
}

// Waiting is a request as it lies in the stream.
type Waiting struct {
	Msg     *bus.Message
	Req     *Request
	Invalid error // why it can't become a task; nil for most
	Before  int   // requests of its pool that came earlier and are no less urgent; only of Find
}

// ScanBatch is how many requests are read at a time in search of one.
const ScanBatch = 1000

// FirstDeadline returns the earliest deadline that was read.
func (s *Stream) FirstDeadline() (d deadline, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.deadlines) == 0 {
		return d, false
	}
	return s.deadlines[0], true
}

// Passed takes the earliest deadline off.
func (s *Stream) Passed(d deadline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.deadlines) > 0 && s.deadlines[0] == d {
		heap.Pop(&s.deadlines)
	}
}

// Read takes in the messages stored before the given time that it has not read yet. What it has read when ctx ends is not
// read again.
func (s *Stream) Read(ctx context.Context, before time.Time) error {
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
	case <-ctx.Done():
		return fmt.Errorf("somebody else reads the requests that wait: %w", ctx.Err())
	}
	stream, all := s.Subjects.RequestsStream(), s.Subjects.AllRequests()
	first, err := s.Bus.Next(ctx, stream, all, s.unread())
	if errors.Is(err, bus.ErrNoMessage) || err == nil && first.Time.After(before) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Bus.Scan(ctx, stream, all, first.Seq, ScanBatch, func(m *bus.Message) bool {
		if m.Time.After(before) {
			return false
		}
		s.takeIn(m)
		return true
	})
}

// unread is the first sequence that was not read yet.
func (s *Stream) unread() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next
}

// takeIn notes the token and the deadline of a message.
func (s *Stream) takeIn(m *bus.Message) {
	r := s.Parse(m)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = m.Seq + 1
	if r == nil {
		return
	}
	at := r.Req.Deadline
	if r.Invalid != nil { // it is rejected as soon as it has waited for a while
		at = m.Time
	}
	heap.Push(&s.deadlines, deadline{At: at, Seq: m.Seq})
	s.index.add(r.Req.Token, m.Seq)
}

// Parse reads a message of the stream; nil: it is no request of a kind that is known.
func (s *Stream) Parse(m *bus.Message) *Waiting {
	parsed, ok := s.Subjects.Parse(m.Subject)
	kind, known := s.Kinds.Lookup(parsed.Kind)
	if !ok || !known {
		return nil
	}
	req, invalid := Parse(Raw{
		Kind: kind, Priority: parsed.Priority, Header: m.Header, Data: m.Data, Sequence: m.Seq, StoredAt: m.Time,
	}, s.Defaults)
	return &Waiting{Msg: m, Req: req, Invalid: invalid}
}

// At returns the request of a sequence; nil: it has left the stream.
func (s *Stream) At(ctx context.Context, seq uint64) (*Waiting, error) {
	m, err := s.Bus.Next(ctx, s.Subjects.RequestsStream(), s.Subjects.AllRequests(), seq)
	if errors.Is(err, bus.ErrNoMessage) || err == nil && m.Seq != seq {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return s.Parse(m), nil
}

// Find returns the request with an id that lies in the stream; nil: none does. An id may come from a header, the body or the
// message's place in the stream, so that it takes one look at each message, though no more than one.
func (s *Stream) Find(ctx context.Context, id string) (*Waiting, error) {
	r, err := s.ByToken(ctx, events.Token(id))
	if err != nil || r == nil || r.Req.ID != id {
		return nil, err
	}
	r.Before, err = s.before(ctx, r.Req)
	return r, err
}

// ByToken returns the first request with a token that lies in the stream, also one that will be rejected; nil: none does. It
// does not count those before it.
func (s *Stream) ByToken(ctx context.Context, token string) (*Waiting, error) {
	if err := s.Read(ctx, s.Bus.Now().Add(time.Hour)); err != nil {
		return nil, err
	}
	for _, seq := range s.indexed(token) {
		r, err := s.At(ctx, seq)
		if err != nil {
			return nil, err
		}
		if r != nil && r.Req.Token == token {
			return r, nil
		}
	}
	return nil, nil
}

func (s *Stream) indexed(token string) []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index.find(token)
}

// before counts the requests that lie before one in the stream and are of its pool and no less urgent.
func (s *Stream) before(ctx context.Context, r *Request) (n int, err error) {
	stream := s.Subjects.RequestsStream()
	state, err := s.Bus.StateOf(ctx, stream, s.Subjects.AllRequests())
	if err != nil {
		return 0, err
	}
	s.forget(state.FirstSeq)
	for subject, total := range state.Subjects {
		parsed, _ := s.Subjects.Parse(subject)
		kind, known := s.Kinds.Lookup(parsed.Kind)
		if !known || kind.Pool != r.Kind.Pool || !noLessUrgent(parsed.Priority, r.Priority) {
			continue
		}
		after, err := s.Bus.CountFrom(ctx, stream, subject, r.Sequence)
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

// Prune forgets what has left the stream in front.
func (s *Stream) Prune(ctx context.Context) error {
	s.mu.Lock()
	empty := len(s.index.order) == 0
	s.mu.Unlock()
	if empty {
		return nil
	}
	state, err := s.Bus.State(ctx, s.Subjects.RequestsStream())
	if err == nil {
		s.forget(state.FirstSeq)
	}
	return err
}

// Reset begins anew with a stream whose sequences may have begun anew.
func (s *Stream) Reset() {
	s.reading <- struct{}{} // whoever reads would go on from where the old stream was
	defer func() { <-s.reading }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next, s.deadlines, s.index = 0, nil, requestIndex{}
}

// forget drops what lies before the first message of the stream from the index.
func (s *Stream) forget(first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.index.forget(first)
}

// deadlineHeap is a heap of deadlines, the earliest first.
type deadlineHeap []deadline

func (h deadlineHeap) Len() int           { return len(h) }
func (h deadlineHeap) Less(i, j int) bool { return h[i].At.Before(h[j].At) }
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

// DuplicateWindow of every stream. It only turns fast repeats into a friendly answer: the guarantee is the guard on each
// publish. A long window would cost 176 bytes of server memory an id and slow restarts.
const DuplicateWindow = 2 * time.Minute

// Room is what a request must leave of the largest message: its dead letter has more headers than itself.
const Room = 8 << 10

// StreamConfig takes requests of the known kinds only, and none so large that it could not become a dead letter, so
// that what can't be handled fails at its publisher.
func StreamConfig(s subjects.Subjects, kinds kling.Kinds, maxPayload int64) jetstream.StreamConfig {
	var subjects []string
	for _, k := range kinds.All() {
		for _, p := range events.Priorities() {
			subjects = append(subjects, s.Request(k.Name, p))
		}
	}
	return jetstream.StreamConfig{
		Name:        s.RequestsStream(),
		Description: "klingbridge: requests that wait to become Kling tasks",
		Subjects:    subjects,
		Retention:   jetstream.WorkQueuePolicy,
		MaxMsgSize:  int32(min(max(maxPayload-Room, Room), math.MaxInt32)),
		Duplicates:  DuplicateWindow,
		AllowDirect: true,
	}
}
