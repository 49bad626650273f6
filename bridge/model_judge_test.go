package bridge_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// promise is one of the contract's, or what the test itself rests on.
type promise string

const (
	oneCompletion promise = "exactly one completion per request"
	paysOnce      promise = "never pays twice"
	nothingForged promise = "nothing forged"
	deadLetters   promise = "a dead letter for each rejected request and for no other"
	aReceipt      promise = "a 2xx is a receipt"
	honestAnswers promise = "an honest callback is never refused"
	truth         promise = "an event says what has happened"
	order         promise = "progress in order, and none after the end"
	lateOnce      promise = "late once, and only after the deadline"
	anEnd         promise = "everything comes to an end"
	anyMayDie     promise = "a replica ends only when it is told to"
	goodManners   promise = "Kling is called as its documentation says"
	aSoundTest    promise = "the test itself works"
)

// breach is a promise that a story has broken.
type breach struct {
	promise promise
	what    string
}

// blame notes a breach.
func (s *stage) blame(p promise, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.tell("BROKEN: %s: %s", p, what)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, breach{p, what})
}

func (s *stage) telling() telling {
	s.mu.Lock()
	defer s.mu.Unlock()
	return telling{broken: slices.Clone(s.broken), told: slices.Clone(s.told)}
}

// create decides what a create call meets, and demands that one that may have made a task is asked about before it is
// made again.
func (s *stage) create(v klingtest.CreateView) klingtest.Fault {
	s.mu.Lock()
	unknown := s.unknown[v.ExternalID]
	s.mu.Unlock()
	if unknown {
		s.blame(paysOnce, "the create call of %s is made again without a look whether the task exists", tokenOf(v.TaskView))
	}
	fault := s.messageOf(v.TaskView).wish.createFault(v.Seen)
	switch fault {
	case klingtest.ResetBeforeStore, klingtest.Error500NoTask, klingtest.HTML502NoTask:
		s.mu.Lock()
		s.unknown[v.ExternalID] = true
		s.mu.Unlock()
	}
	return fault
}

// query notes that somebody asks about a task.
func (s *stage) query(v klingtest.QueryView) klingtest.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range v.IDs {
		delete(s.unknown, id)
	}
	return nil
}

// observe retells what happens at Kling and judges the answers to its callbacks.
func (s *stage) observe(e klingtest.Event) {
	switch e.Type {
	case klingtest.Created:
		s.mu.Lock()
		s.unknown[e.Task.ExternalID] = true
		s.mu.Unlock()
		s.tell("  Kling has a task for %s", tokenOf(e.Task))
	case klingtest.Refused:
		s.tell("  Kling refuses a %s call with %d %s", e.Route, e.Code, e.Detail)
	case klingtest.Faulted:
		s.tell("  Kling answers a %s call with: %s", e.Route, e.Detail)
	case klingtest.CallbackFailed, klingtest.CallbackLost:
		s.tell("  callback %s of %s is lost", e.Status, tokenOf(e.Task))
	case klingtest.CallbackAnswered:
		s.tell("  callback %s of %s is answered %d", e.Status, tokenOf(e.Task), e.HTTPStatus)
		s.checkAnswer(e.Task, e.Status, e.HTTPStatus)
	case klingtest.Violated:
		s.blame(goodManners, "%s", e.Detail)
	}
}

// checkAnswer judges the answer to an honest callback.
func (s *stage) checkAnswer(task klingtest.TaskView, status string, answered int) {
	switch answered {
	case 0, http.StatusServiceUnavailable: // nobody there, or not able to store it
	case http.StatusOK:
		if !s.isStored(tokenOf(task), status) {
			s.blame(aReceipt, "callback %s of %s was answered 200 before its event was stored", status, tokenOf(task))
		}
	default:
		s.blame(honestAnswers, "callback %s of %s was answered %d", status, tokenOf(task), answered)
	}
}

// isStored reports whether the event of a callback is stored, or one that makes it old news.
func (s *stage) isStored(token, status string) bool {
	switch status {
	case klingtest.StatusSubmitted:
		return s.events(s.subjects.EventsOf(token)) > 0
	case klingtest.StatusProcessing:
		return s.events(s.subjects.Progress("*", events.StatusProcessing, token))+s.events(s.subjects.CompletionOf(token)) > 0
	default: // its end: the completion, or late where the deadline was faster
		return s.events(s.subjects.Completion("*", events.StatusSucceed, token))+
			s.events(s.subjects.Completion("*", events.StatusFailed, token))+s.events(s.subjects.LateOf(token)) > 0
	}
}

// checkRefusal judges the answer to a callback that must not pass. There may be nobody to refuse it.
func (s *stage) checkRefusal(what string, answered, want int) {
	s.tell("  %s is answered %d", what, answered)
	if answered != want && answered != 0 && answered != http.StatusServiceUnavailable {
		s.blame(nothingForged, "%s was answered %d, want %d", what, answered, want)
	}
}

// see counts what a plain subscriber gets.
func (s *stage) see(msg *nats.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[msg.Subject]++
}

// settle lets all go well and every task end, until nothing is left to do.
func (s *stage) settle() {
	s.tell("from now on all goes well")
	s.mend()
	for _, r := range s.cast {
		r.link.breakAtWrite(0, nil)
	}
	var left []string
	settled := s.within(patience, func() bool {
		if s.running() == 0 {
			s.startReplica()
		}
		for _, task := range s.sim.Tasks() {
			if !task.Ended() {
				s.finish(task)
			}
		}
		left = s.left()
		return len(left) == 0
	})
	if !settled {
		s.blame(anEnd, "%s is left", strings.Join(left, ", "))
	}
	s.sim.Close() // there is no further callback
}

// left lists what is still to be done.
func (s *stage) left() []string {
	var left []string
	if n := s.count(s.subjects.RequestsStream(), s.subjects.AllRequests()); n > 0 {
		left = append(left, fmt.Sprintf("%d messages on request subjects", n))
	}
	ended := map[string]bool{}
	err := s.bus.Subjects(s.ctx, s.subjects.EventsStream(), ">", func(subject string) {
		switch p, _ := s.subjects.Parse(subject); p.Type {
		case events.TypeCompletion:
			ended[p.Token] = true
		case "pending", "due":
			left = append(left, subject)
		}
	})
	if err != nil {
		left = append(left, err.Error())
	}
	for token := range s.requests {
		if !ended[token] {
			left = append(left, token+" without a completion")
		}
	}
	return left
}

// storedMsg is one message that is stored.
type storedMsg struct {
	*bus.Message
	events.Parsed
}

// judge compares what is stored and what is at Kling with what was asked for.
func (s *stage) judge() {
	stored := map[string][]storedMsg{} // by token
	if err := errors.Join(s.read(s.subjects.EventsStream(), stored), s.read(s.subjects.DeadStream(), stored)); err != nil {
		s.blame(aSoundTest, "%v", err)
		return
	}
	for _, token := range slices.Sorted(maps.Keys(s.requests)) {
		s.judgeRequest(token, s.requests[token], stored[token])
	}
	for token, messages := range stored {
		if s.requests[token] == nil {
			s.blame(nothingForged, "%d messages about %s, which nobody asked for", len(messages), token)
		}
	}
	s.judgeSubscriber(stored)
}

func (s *stage) read(stream string, by map[string][]storedMsg) error {
	for seq := uint64(1); ; seq++ {
		m, err := s.bus.Next(s.ctx, stream, ">", seq)
		if errors.Is(err, bus.ErrNoMessage) {
			return nil
		}
		if err != nil {
			return err
		}
		if id := m.Header[hiddenMsgID]; id != nil {
			m.Header[jetstream.MsgIDHeader] = id
			delete(m.Header, hiddenMsgID)
		}
		parsed, _ := s.subjects.Parse(m.Subject)
		by[parsed.Token] = append(by[parsed.Token], storedMsg{m, parsed})
		seq = m.Seq
	}
}

// judgeRequest holds one request to the promises.
func (s *stage) judgeRequest(token string, asked *asked, stored []storedMsg) {
	tasks := s.tasksOf(token)
	if len(tasks) > 1 {
		s.blame(paysOnce, "%s has %d tasks", token, len(tasks))
	}
	of := map[string][]storedMsg{}
	for _, m := range stored {
		of[m.Type] = append(of[m.Type], m)
		if m.Type != "dead" {
			eventstest.Check(&verdicts{TB: s.t, s: s}, m.Subject, m.Header, m.Data)
		}
	}
	if n := len(of[events.TypeCompletion]); n != 1 {
		s.blame(oneCompletion, "%s has %d", token, n)
		return
	}
	completion := of[events.TypeCompletion][0]
	s.judgeProgress(token, of[events.TypeProgress], completion.Seq)
	var ev events.Event
	if err := json.Unmarshal(completion.Data, &ev); err != nil {
		s.blame(truth, "completion of %s: %v", token, err)
		return
	}
	s.judgeDead(token, asked, of["dead"], ev)
	s.judgeLate(token, of[events.TypeLate], ev, tasks)
	s.judgeCompletion(token, asked, ev, tasks)
}

// judgeProgress wants submitted, then processing, each at most once, and nothing after the end.
func (s *stage) judgeProgress(token string, progress []storedMsg, end uint64) {
	want := []events.Status{events.StatusSubmitted, events.StatusProcessing}
	for i, m := range progress {
		if i >= len(want) || m.Status != want[i] || m.Seq > end {
			s.blame(order, "%s is number %d of %s, whose end is number %d of the stream", m.Subject, m.Seq, token, end)
		}
	}
}

// judgeCompletion wants an end that the message named in it allows, and exactly the task that goes with it.
func (s *stage) judgeCompletion(token string, asked *asked, ev events.Event, tasks []klingtest.TaskView) {
	n, err := strconv.Atoi(ev.Metadata[strings.TrimPrefix(metaMessage, events.HeaderMetaPrefix)])
	if err != nil || n < 1 || n > len(asked.messages) {
		s.blame(truth, "the completion of %s has the metadata %v", token, ev.Metadata)
		return
	}
	w := asked.messages[n-1].wish
	if !slices.Contains(w.ends(), ev.Status) || ev.Kind != w.kind {
		s.blame(truth, "message %d of %s, a %s, was completed as %s %s", n, token, w, ev.Kind, ev.Status)
	}
	if waited := ev.CompletedAt.Sub(ev.RequestedAt.Time); ev.Status == events.StatusExpired && waited < hurry {
		s.blame(truth, "%s expired after %s", token, waited)
	}
	if len(tasks) != 1 {
		if ev.Status == events.StatusSucceed || ev.Status == events.StatusFailed {
			s.blame(truth, "%s is completed as %s with %d tasks", token, ev.Status, len(tasks))
		}
		return
	}
	task := tasks[0]
	switch {
	case ev.Status == events.StatusRejected:
		s.blame(truth, "%s was rejected and has a task", token)
	case task.Prompt != promptOf(token, n, w.end):
		s.blame(truth, "the completion of %s is of message %d and the task of %q", token, n, task.Prompt)
	case ev.TaskID != task.ID && (ev.Status != events.StatusExpired || ev.TaskID != ""), ev.ExternalTaskID != task.ExternalID:
		s.blame(truth, "the completion of %s names task %s (%s), want %s (%s)", token, ev.TaskID, ev.ExternalTaskID, task.ID, task.ExternalID)
	}
}

// ends are the completions that a wish allows.
func (w wish) ends() []events.Status {
	ends := []events.Status{map[string]events.Status{
		goesWell: events.StatusSucceed, fails: events.StatusFailed, refused: events.StatusRejected,
	}[w.end]}
	if w.hurried {
		ends = append(ends, events.StatusExpired)
	}
	return ends
}

// judgeDead wants the rejected message as it came.
func (s *stage) judgeDead(token string, asked *asked, dead []storedMsg, ev events.Event) {
	if ev.Status != events.StatusRejected {
		if len(dead) > 0 {
			s.blame(deadLetters, "%s is completed as %s and has %d dead letters", token, ev.Status, len(dead))
		}
		return
	}
	if len(dead) != 1 {
		s.blame(deadLetters, "%s was rejected and has %d dead letters", token, len(dead))
		return
	}
	n, _ := strconv.Atoi(dead[0].Header.Get(metaMessage))
	if n < 1 || n > len(asked.messages) || !bytes.Equal(dead[0].Data, asked.messages[n-1].data) ||
		dead[0].Header.Get(metaMessage) != ev.Metadata[strings.TrimPrefix(metaMessage, events.HeaderMetaPrefix)] {
		s.blame(deadLetters, "the dead letter of %s is message %d: %s", token, n, dead[0].Data)
	}
}

// judgeLate wants late events of expired requests with a task only.
func (s *stage) judgeLate(token string, late []storedMsg, ev events.Event, tasks []klingtest.TaskView) {
	if len(late) > 1 || len(late) == 1 && (ev.Status != events.StatusExpired || len(tasks) != 1) {
		s.blame(lateOnce, "%s is completed as %s, has %d tasks and %d late events", token, ev.Status, len(tasks), len(late))
	}
}

// judgeSubscriber wants that a plain subscriber saw nothing twice and nothing that is not stored.
func (s *stage) judgeSubscriber(stored map[string][]storedMsg) {
	s.mu.Lock()
	seen := maps.Clone(s.seen)
	s.mu.Unlock()
	for subject, n := range seen {
		p, _ := s.subjects.Parse(subject)
		if p.Type == "request" || p.Type == "dead" { // these are published by whoever has one, and stored if it is the first
			continue
		}
		if n > 1 || !slices.ContainsFunc(stored[p.Token], func(m storedMsg) bool { return m.Subject == subject }) {
			s.blame(oneCompletion, "a plain subscriber saw %s %d times", subject, n)
		}
	}
}

// verdicts takes in what is found wrong with the form of an event.
type verdicts struct {
	testing.TB
	s *stage
}

func (v *verdicts) Errorf(format string, args ...any) { v.s.blame(truth, format, args...) }
