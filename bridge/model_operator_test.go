package bridge_test

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
	"pgregory.net/rapid"

	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/events"
)

// What an operator deletes of a request.
const (
	theRecord   = "the record"
	theProgress = "the progress"
	everything  = "all that is known"
)

// purge has an operator delete what is known of a request, or part of it.
func purge(t *rapid.T) step {
	id, what := anID(t), pick(t, "what", theRecord, theProgress, everything)
	return step{fmt.Sprintf("an operator deletes %s of %s", what, id), func(s *system) { s.purge(events.Token(id), what) }}
}

// purge deletes the record of a request that was announced, the progress of one that has a record, or both. An end stays: with
// it the promises go, of which it is the proof.
func (s *system) purge(token, what string) {
	record, progress := s.subjects.StateOf(token), s.subjects.Progress("*", "*", token)
	filters, must := []string{record, progress}, record
	switch what {
	case theRecord:
		filters, must = filters[:1], progress
	case theProgress:
		filters = filters[1:]
	}
	if !s.mayPurge(token, what) || !s.has(must) || s.has(s.subjects.CompletionOf(token)) {
		return
	}
	s.mu.Lock()
	s.purged[token] = what
	s.mu.Unlock()
	s.tell("  %s of %s goes", what, token)
	stream, err := s.bus.JetStream().Stream(s.ctx, s.subjects.EventsStream())
	for _, filter := range filters {
		if err == nil {
			err = stream.Purge(s.ctx, jetstream.WithPurgeSubject(filter))
		}
	}
	if err != nil {
		s.violate(aSoundTest, "purge: %v", err)
	}
}

// mayPurge spares what nobody could tell any more: a task whose record is gone is heard of by its callback, or found at Kling
// by an external id that the request's can be read from. Kling does not tell the kind of tasks of the newer APIs. A request is
// forgotten only while it has one message: from then on its repeats ask for the same.
func (s *system) mayPurge(token, what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.requests[token]
	if asked == nil || s.purged[token] != "" {
		return false
	}
	w := asked.messages[0].wish
	if w.retries > 0 { // which tries there were is told by nothing else
		return false
	}
	readable := asked.id == token && (what != everything || w.kind == kindV1 || w.kind == kindV1Beside)
	called := !w.creates.silent && !w.callback(true).Lose
	return what == theProgress || len(asked.messages) == 1 && (readable || called)
}

// purgedOf is what was deleted of a request; empty: nothing.
func (s *system) purgedOf(token string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.purged[token]
}

// recordLost reports whether the record of a request was deleted, and with it its deadline.
func (s *system) recordLost(token string) bool {
	what := s.purgedOf(token)
	return what == theRecord || what == everything
}

// forgotten reports whether all that was known of a request was deleted while it was under way. Then it is allowed:
//
//   - A repeat is sent without a lookup by a replica that has not made the task itself. Kling refuses it, as it knows the
//     external id; the task is looked up and adopted. There is no second task.
//   - The repeat's completion is then of the task of the message before.
//   - The completion of a task that is heard of again has no metadata.
func (s *system) forgotten(token string) bool { return s.purgedOf(token) == everything }

// farAway is a bound on messages that no story reaches: nothing is dropped yet.
const farAway = 1_000_000

// bound has an operator bound a stream that must drop nothing, and take the bound away again once a replica says that it is
// not ready for it.
func bound(t *rapid.T) step {
	const requests, theEvents, messages, bytes = "requests", "events", "messages", "bytes"
	which, what := pick(t, "stream", requests, theEvents), pick(t, "bound", messages, bytes)
	return step{fmt.Sprintf("an operator bounds the %s of the stream of %s", what, which), func(s *system) {
		name := s.subjects.RequestsStream()
		if which == theEvents {
			name = s.subjects.EventsStream()
		}
		limit, says := func(c *jetstream.StreamConfig) { c.MaxMsgs = farAway }, "max_msgs is 1000000 with discard old"
		if what == bytes {
			limit, says = func(c *jetstream.StreamConfig) { c.MaxBytes = 1 << 30 }, "max_bytes is 1073741824 with discard old"
		}
		s.bounded.Store(true)
		s.editStream(name, limit)
		s.checkNotReady(name, says)
		s.editStream(name, func(c *jetstream.StreamConfig) { c.MaxMsgs, c.MaxBytes = -1, -1 })
	}}
}

// checkNotReady wants a reason of a replica that can reach NATS. There may be none.
func (s *system) checkNotReady(stream, says string) {
	saidBy, asked := "", []*replica{}
	clocktest.Within(patience, func() bool {
		asked = asked[:0]
		for _, r := range s.running() {
			if !r.link.stands() {
				continue
			}
			asked = append(asked, r)
			status, text := get(s.t, r.readyURL)
			if status == http.StatusServiceUnavailable && strings.Contains(text, stream) && strings.Contains(text, says) {
				saidBy = r.name
			}
		}
		return saidBy != "" || len(asked) == 0
	})
	if saidBy == "" && len(asked) > 0 {
		s.violate(readyMeansAble, "no replica says of %s that %s", stream, says)
	}
}

func (s *system) editStream(name string, change func(*jetstream.StreamConfig)) {
	stream, err := s.bus.JetStream().Stream(s.ctx, name)
	if err == nil {
		config := stream.CachedInfo().Config
		change(&config)
		_, err = s.bus.JetStream().UpdateStream(s.ctx, config)
	}
	if err != nil {
		s.violate(aSoundTest, "edit stream %s: %v", name, err)
	}
}
