package events

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Type says what a message is, as it stands in the subject.
type Type string

// The types of messages. All but requests and dead letters are events.
const (
	TypeRequest    Type = "request"    // published by users
	TypeProgress   Type = "progress"   // submitted, processing or retrying
	TypeCompletion Type = "completion" // the one final event of a request
	TypeLate       Type = "late"       // what Kling reported after the request had expired or was cancelled
	TypeArchived   Type = "archived"   // where the files of a result were copied to, see Archived
	TypeDead       Type = "dead"       // a request that never became a task
)

// Filter picks events. Each field that is set narrows the choice.
type Filter struct {
	Kind   string
	Status Status
	ID     string // a request id
	// Since also picks events stored before the watch begins, from this time on. Zero: only new ones.
	Since time.Time
	// FromStart picks all that is stored, and what comes. Since counts for nothing then.
	FromStart bool
	// Types of events. Empty: progress, completion and late, which have an [Event] as their body.
	Types []Type
}

// Message is an event as it was stored.
type Message struct {
	Subject  string
	Sequence uint64 // in the stream
	Type     Type   // TypeProgress, TypeCompletion, TypeLate or TypeArchived
	Header   nats.Header
	Event    Event  // of an archived event only what is also in Archived; see the method of that name
	Raw      []byte // the body
	// Try is how often the server has delivered it, to any process and this time included, whatever came of it: a process that
	// ended or took too long counts, too. Zero: it comes of no [Client.HandleWith].
	Try int
}

// Watch yields events as they are stored, in order and each once, across reconnects. It begins when the ranging does.
//
// It goes on until the caller breaks off, or ctx ends or there is no way to go on: then the last pair has the error,
// [ErrNoBridge] where no stream holds events. A message that can't be decoded comes with an error but ends nothing.
func (c *Client) Watch(ctx context.Context, f Filter) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		r, err := c.watcher(ctx, f)
		if err != nil {
			yield(Message{}, fmt.Errorf("watch events: %w", err))
			return
		}
		for msg, err := range r.messages(ctx) {
			if err != nil {
				yield(Message{}, fmt.Errorf("watch events: %w", err))
				return
			}
			if !yield(c.message(msg)) {
				return
			}
		}
	}
}

func (c *Client) watcher(ctx context.Context, f Filter) (*reader, error) {
	filters, err := f.subjects(c.subjects)
	if err != nil {
		return nil, err
	}
	r := c.reader(filters)
	if f.FromStart {
		r.start.DeliverPolicy = jetstream.DeliverAllPolicy
		return r, nil
	}
	if !f.Since.IsZero() {
		r.start.DeliverPolicy = jetstream.DeliverByStartTimePolicy
		r.start.OptStartTime = &f.Since
		return r, nil
	}
	// A consumer for new messages would skip what is stored between its loss and the making of the next one.
	r.last, err = r.lastSequence(ctx)
	return r, err
}

// lastSequence returns the sequence of the last message in the stream.
func (r *reader) lastSequence(ctx context.Context) (uint64, error) {
	for {
		last, err := r.tryLastSequence(ctx)
		if err == nil || permanent(err) {
			return last, err
		}
		if wait(ctx, retryWait) != nil {
			return 0, ended(ctx, err)
		}
	}
}

func (r *reader) tryLastSequence(ctx context.Context) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	stream, err := r.js.Stream(ctx, r.stream)
	if err != nil {
		return 0, r.streamError(err)
	}
	r.found = true
	return stream.CachedInfo().State.LastSeq, nil
}

// subjects returns one subject for each type.
func (f Filter) subjects(s Subjects) ([]string, error) {
	kind, status, token := "*", "*", "*"
	if f.Kind != "" {
		kind = f.Kind
	}
	if f.Status != "" {
		status = string(f.Status)
	}
	if f.ID != "" {
		token = Token(f.ID)
	}
	for _, t := range []string{kind, status} {
		if t != "*" && !IsToken(t) {
			return nil, fmt.Errorf("filter %q: want 1 to 64 of A-Z a-z 0-9 _ -", t)
		}
	}
	types := f.Types
	if len(types) == 0 {
		types = []Type{TypeProgress, TypeCompletion, TypeLate}
	}
	var subjects []string
	for _, t := range types {
		if !slices.Contains([]Type{TypeProgress, TypeCompletion, TypeLate, TypeArchived}, t) {
			return nil, fmt.Errorf("filter type %q: want progress, completion, late or archived", t)
		}
		subjects = append(subjects, s.join(t, kind, status, token))
	}
	slices.Sort(subjects)
	return slices.Compact(subjects), nil
}

func (c *Client) message(msg jetstream.Msg) (Message, error) {
	m := Message{Subject: msg.Subject(), Header: msg.Headers(), Raw: msg.Data()}
	if meta, err := msg.Metadata(); err == nil {
		m.Sequence = meta.Sequence.Stream
	}
	parsed, _ := c.subjects.Parse(m.Subject)
	m.Type = parsed.Type
	var err error
	m.Event, err = decodeEvent(msg)
	return m, err
}
