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

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// promise is one of the contract's, or what the test itself rests on.
type promise string

const (
	oneCompletion  promise = "exactly one completion per request"
	paysOnce       promise = "never pays twice"
	nothingForged  promise = "nothing forged"
	deadLetters    promise = "a dead letter for each rejected request and for no other"
	aReceipt       promise = "a 2xx is a receipt"
	honestAnswers  promise = "an honest callback is never refused"
	truth          promise = "an event says what has happened"
	order          promise = "progress in order, and none after the end"
	lateOnce       promise = "late once, and only after the deadline"
	anEnd          promise = "everything comes to an end"
	anyMayDie      promise = "a replica ends only when it is told to"
	readyMeansAble promise = "ready means able"
	goodManners    promise = "Kling is called as its documentation says"
	aSoundTest     promise = "the test itself works"
)

// cutShort is what Kling finds wrong with a call whose replica died or has seen in the middle of it that it stood still.
const cutShort = "body can't be read"

// askedTwice is what Kling finds wrong with questions for the account's costs. Each replica keeps to one a second, but knows
// of no other; what is too much is refused and says nothing.
const askedTwice = "/account/costs: more than once a second"

// breach is a promise that a story has broken.
type breach struct {
	promise promise
	what    string
}

// violate notes a breach.
func (s *system) violate(p promise, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	s.tell("BROKEN: %s: %s", p, what)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = append(s.broken, breach{p, what})
}

func (s *system) telling() telling {
	s.mu.Lock()
	defer s.mu.Unlock()
	return telling{broken: slices.Clone(s.broken), told: slices.Clone(s.told)}
}

// create decides what a create call meets, and demands that for each earlier one that may have made the task Kling has
// answered a query about it. That the answer comes between the two calls is too much to ask: a replica that is stalled
// right before it calls is overtaken by its successor, and then only the external id keeps the task from being made twice.
//
// One that may have made the task on another account is looked at there.
func (s *system) create(account int, v klingtest.CreateView) klingtest.Fault {
	meets := s.messageOf(v.TaskView).wish.creates
	s.mu.Lock()
	if tryOf(v.TaskView) > 1 || s.calls[v.ExternalID] >= meets.times {
		meets = trouble{}
	}
	s.calls[v.ExternalID]++
	unasked := false
	for i := range s.accounts {
		is := taskKey{i, v.ExternalID}
		unasked = unasked || s.sent[is] > s.answered[is]
	}
	unknown, disguised := meets.outcome()
	is := taskKey{account, v.ExternalID}
	if unknown {
		s.sent[is]++
	}
	s.excused[is] = disguised
	s.blind[is] += meets.blind
	s.mu.Unlock()
	if unasked && !s.forgotten(tokenOf(v.TaskView)) {
		s.violate(paysOnce, "the create call of %s is made again without a look whether the task exists", tokenOf(v.TaskView))
	}
	return meets.fault
}

// stored notes that a create call has made a task. One that is disguised as a refusal can't be known to have: then the
// external id alone keeps the task from being made twice.
func (s *system) stored(is taskKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.excused[is] {
		s.sent[is]++
	}
}

// query lets a query fail or notes that it is answered.
func (s *system) query(account int, v klingtest.QueryView) klingtest.Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range v.IDs {
		is := taskKey{account, id}
		if s.blind[is] > 0 {
			s.blind[is]--
			return klingtest.Error500NoTask
		}
		s.answered[is]++
	}
	return nil
}

// observe retells what happens at Kling and judges the answers to its callbacks.
func (s *system) observe(account int, e klingtest.Event) {
	switch e.Type {
	case klingtest.CallbackAnswered, klingtest.CallbackFailed, klingtest.CallbackLost:
		s.mu.Lock()
		if e.Task.Ended() {
			s.endings[e.Task.ID]++
		}
		s.mu.Unlock()
	}
	switch e.Type {
	case klingtest.Created:
		s.stored(taskKey{account, e.Task.ExternalID})
		s.tell("  account %d has a task for %s", account+1, tokenOf(e.Task))
	case klingtest.Refused:
		s.tell("  account %d refuses a %s call with %d %s", account+1, e.Route, e.Code, e.Detail)
	case klingtest.Faulted:
		s.tell("  account %d answers a %s call with: %s", account+1, e.Route, e.Detail)
	case klingtest.CallbackFailed, klingtest.CallbackLost:
		s.tell("  callback %s of %s is lost", e.Status, tokenOf(e.Task))
	case klingtest.CallbackAnswered:
		s.tell("  callback %s of %s is answered %d", e.Status, tokenOf(e.Task), e.HTTPStatus)
		s.checkAnswer(e.Task, e.Status, e.HTTPStatus, s.messageOf(e.Task).wish.tells(e.Status))
	case klingtest.Violated:
		if !strings.HasSuffix(e.Detail, askedTwice) && !strings.HasSuffix(e.Detail, cutShort) {
			s.violate(goodManners, "%s", e.Detail)
		}
	}
}

// checkAnswer judges the answer to an honest callback. One that does not tell what has happened is no news, but Kling is to
// be asked, or was.
func (s *system) checkAnswer(task klingtest.TaskView, status string, answered int, tells bool) {
	switch answered {
	case 0, http.StatusServiceUnavailable: // nobody there, or not able to store it
	case http.StatusOK:
		token := tokenOf(task)
		if s.purgedOf(token) != "" && (!tells || !ended(status)) {
			return // what the answer stands for may be what was deleted
		}
		if !tells {
			if !s.has(s.subjects.StateOf(token), s.subjects.CompletionOf(token)) {
				s.violate(aReceipt, "callback %s of %s was answered 200 and Kling is not asked", status, token)
			}
		} else if !s.isStored(token, status) && (status != klingtest.StatusFailed || !s.madeAgain(task)) {
			s.violate(aReceipt, "callback %s of %s was answered 200 before its event was stored", status, tokenOf(task))
		}
	default:
		s.violate(honestAnswers, "callback %s of %s was answered %d", status, tokenOf(task), answered)
	}
}

// isStored reports whether the event of a callback is stored, or one that makes it old news.
func (s *system) isStored(token, status string) bool {
	su := s.subjects
	switch status {
	case klingtest.StatusSubmitted:
		return s.has(su.EventsOf(token))
	case klingtest.StatusProcessing:
		return s.has(su.Progress("*", events.StatusProcessing, token), su.Progress("*", events.StatusRetrying, token), su.CompletionOf(token))
	default: // its end: the completion, or late where the deadline was faster, or that it is made again
		return s.has(su.Progress("*", events.StatusRetrying, token), su.Completion("*", events.StatusSucceed, token), su.Completion("*", events.StatusFailed, token), su.LateOf(token))
	}
}

// madeAgain reports whether the record of a request says that this very task failed and is made again. It has all that the event of
// that will say, and its timer has it told, whoever dies.
func (s *system) madeAgain(task klingtest.TaskView) bool {
	stream, err := s.bus.JetStream().Stream(s.ctx, s.subjects.EventsStream())
	if err != nil {
		s.violate(aSoundTest, "%v", err)
		return false
	}
	msg, err := stream.GetLastMsgForSubject(s.ctx, s.subjects.StateOf(tokenOf(task)))
	if err != nil { // there is none
		return false
	}
	rec, err := store.Decode(msg.Data)
	return err == nil && slices.ContainsFunc(rec.Tries, func(try events.Try) bool { return try.TaskID == task.ID })
}

// checkRefusal judges the answer to a callback that must not pass. There may be nobody to refuse it.
func (s *system) checkRefusal(what string, answered, want int) {
	s.tell("  %s is answered %d", what, answered)
	if answered != want && answered != 0 && answered != http.StatusServiceUnavailable {
		s.violate(nothingForged, "%s was answered %d, want %d", what, answered, want)
	}
}

// settle lets all go well and every task end, until nothing is left to do.
func (s *system) settle() {
	s.tell("from now on all goes well")
	s.mend()
	for _, r := range s.replicas {
		r.link.breakAtWrite(0, nil)
	}
	var left []string
	settled := clocktest.Within(patience, func() bool {
		if len(s.running()) == 0 {
			s.startReplica(0)
		}
		for _, task := range s.tasks() {
			inTime := !s.messageOf(task).wish.hurried || s.recordLost(tokenOf(task)) // the others are to expire first
			if !task.Ended() && (inTime || s.has(s.subjects.CompletionOf(tokenOf(task)))) {
				s.finish(task)
			}
		}
		left = s.left()
		return len(left) == 0
	})
	if !settled {
		s.violate(anEnd, "%s is left", strings.Join(left, ", "))
	}
	s.closeAccounts() // there is no further callback
}

// left lists what is still to be done. The callbacks come first: what one has led to is stored once it is answered.
func (s *system) left() []string {
	var left []string
	todo := func(subject string) { left = append(left, subject) }
	for _, task := range s.tasks() {
		times := 1 + s.messageOf(task).wish.callback(true).Repeat
		s.mu.Lock()
		if s.endings[task.ID] < times {
			todo("the last callback of " + tokenOf(task))
		}
		s.mu.Unlock()
	}
	ended := map[string]bool{}
	errs := []error{
		s.bus.Subjects(s.ctx, s.subjects.RequestsStream(), s.subjects.AllRequests(), todo),
		s.bus.Subjects(s.ctx, s.subjects.EventsStream(), s.subjects.StateOf("*"), todo),
		s.bus.Subjects(s.ctx, s.subjects.EventsStream(), s.subjects.AllCompletions(), func(subject string) {
			parsed, _ := s.subjects.Parse(subject)
			ended[parsed.Token] = true
		}),
	}
	if err := errors.Join(errs...); err != nil {
		todo(err.Error())
	}
	for token := range s.requests {
		if !ended[token] {
			todo(token + " without a completion")
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
func (s *system) judge() {
	stored := map[string][]storedMsg{} // by token
	if err := errors.Join(s.read(s.subjects.EventsStream(), stored), s.read(s.subjects.DeadStream(), stored)); err != nil {
		s.violate(aSoundTest, "%v", err)
		return
	}
	for _, token := range slices.Sorted(maps.Keys(s.requests)) {
		s.judgeRequest(token, s.requests[token], stored[token])
	}
	for token, messages := range stored {
		if s.requests[token] == nil {
			s.violate(nothingForged, "%d messages about %s, which nobody asked for", len(messages), token)
		}
	}
}

func (s *system) read(stream string, by map[string][]storedMsg) error {
	for seq := uint64(1); ; seq++ {
		m, err := s.bus.Next(s.ctx, stream, ">", seq)
		if errors.Is(err, bus.ErrNoMessage) {
			return nil
		}
		if err != nil {
			return err
		}
		seq = m.Seq
		if strings.HasPrefix(m.Subject, s.subjects.Probe("")) {
			continue // of a replica that died before it removed it
		}
		if id := m.Header[hiddenMsgID]; id != nil {
			m.Header[jetstream.MsgIDHeader] = id
			delete(m.Header, hiddenMsgID)
		}
		parsed, _ := s.subjects.Parse(m.Subject)
		by[parsed.Token] = append(by[parsed.Token], storedMsg{m, parsed.Parsed})
	}
}

// judgeRequest holds one request to the promises.
func (s *system) judgeRequest(token string, asked *asked, stored []storedMsg) {
	tasks := s.tasksOf(token)
	for i, task := range tasks {
		if tryOf(task) != i+1 {
			s.violate(paysOnce, "%s has %d tasks, of which number %d is of try %d", token, len(tasks), i+1, tryOf(task))
		}
	}
	of := map[events.Type][]storedMsg{}
	for _, m := range stored {
		of[m.Type] = append(of[m.Type], m)
		if m.Type != events.TypeDead && m.Type != subjects.TypeOriginal {
			eventstest.Check(&verdicts{TB: s.t, s: s}, m.Subject, m.Header, m.Data)
		}
	}
	if n := len(of[events.TypeCompletion]); n != 1 {
		s.violate(oneCompletion, "%s has %d", token, n)
		return
	}
	completion := of[events.TypeCompletion][0]
	s.judgeProgress(token, of[events.TypeProgress], completion.Seq)
	var ev events.Event
	if err := json.Unmarshal(completion.Data, &ev); err != nil {
		s.violate(truth, "completion of %s: %v", token, err)
		return
	}
	s.judgeDead(token, asked, of["dead"], ev)
	s.judgeTries(token, asked, ev, tasks)
	last := tasks[max(len(tasks)-1, 0):]
	s.judgeLate(token, of[events.TypeLate], ev, last)
	s.judgeCompletion(token, asked, ev, last)
}

// judgeTries wants all tasks before the last in the completion, and no more of them than the request allows.
func (s *system) judgeTries(token string, asked *asked, ev events.Event, tasks []klingtest.TaskView) {
	if n := asked.number(ev.Metadata[metaMessage]); n > 0 && len(tasks) > 1+asked.messages[n-1].wish.retries {
		s.violate(paysOnce, "%s has %d tasks, and may be tried again %d times", token, len(tasks), asked.messages[n-1].wish.retries)
	}
	var told, made []string
	for _, try := range ev.Tries {
		told = append(told, try.TaskID)
	}
	for _, task := range tasks[:max(len(tasks)-1, 0)] {
		made = append(made, task.ID)
	}
	if !slices.Equal(told, made) && s.purgedOf(token) == "" && ev.Status != events.StatusExpired {
		s.violate(truth, "the completion of %s tells of the tries %v, and there are %v", token, told, made)
	}
}

// judgeProgress wants submitted, then processing, each at most once for each try, retrying between tries, and nothing after the
// end.
func (s *system) judgeProgress(token string, progress []storedMsg, end uint64) {
	last := events.StatusRetrying
	for _, m := range progress {
		inOrder := map[events.Status]bool{
			events.StatusSubmitted:  last == events.StatusRetrying,
			events.StatusProcessing: last == events.StatusSubmitted,
			events.StatusRetrying:   true,
		}[m.Status]
		if !inOrder || m.Seq > end {
			s.violate(order, "%s is number %d of %s, whose end is number %d of the stream", m.Subject, m.Seq, token, end)
		}
		last = m.Status
	}
}

// judgeCompletion wants an end that the message named in it allows, and exactly the task that goes with it.
func (s *system) judgeCompletion(token string, asked *asked, ev events.Event, tasks []klingtest.TaskView) {
	n := asked.number(ev.Metadata[metaMessage])
	if n == 0 && len(ev.Metadata) == 0 && s.forgotten(token) && len(tasks) == 1 {
		_, n = numberOf(tasks[0]) // nothing else tells any more which message it was
	}
	if n == 0 {
		s.violate(truth, "the completion of %s has the metadata %v", token, ev.Metadata)
		return
	}
	w := asked.messages[n-1].wish
	allowed := slices.Contains(w.ends(), ev.Status) || ev.Status == events.StatusRejected && s.mayReject(w, ev)
	allowed = allowed || ev.Status == events.StatusFailed && w.end == failsFirst && (s.mayReject(w, ev) || s.purgedOf(token) != "")
	if !allowed || ev.Kind != w.kind {
		s.violate(truth, "message %d of %s, a %s, was completed as %s %s", n, token, w, ev.Kind, ev.Status)
	}
	if waited := ev.CompletedAt.Sub(ev.RequestedAt.Time); ev.Status == events.StatusExpired && waited < hurry {
		s.violate(truth, "%s expired after %s", token, waited)
	}
	if r := ev.Result; ev.Status == events.StatusSucceed && (r == nil || len(r.Videos)+len(r.Audios)+len(r.Files) == 0) {
		s.violate(truth, "%s is completed without a result", token)
	}
	if len(tasks) != 1 {
		if ev.Status == events.StatusSucceed || ev.Status == events.StatusFailed {
			s.violate(truth, "%s is completed as %s with %d tasks", token, ev.Status, len(tasks))
		}
		return
	}
	task := tasks[0]
	_, disguised := w.creates.outcome() // then the message that is tried next gets the task
	disguised = disguised || s.forgotten(token)
	switch {
	case ev.Status == events.StatusRejected:
		s.violate(truth, "%s was rejected and has a task", token)
	case task.Prompt != promptOf(token, n, w.end) && !disguised:
		s.violate(truth, "the completion of %s is of message %d and the task of %q", token, n, task.Prompt)
	case ev.Status == events.StatusExpired && ev.TaskID == "" && (ev.ExternalTaskID == task.ExternalID || disguised):
	case ev.TaskID != task.ID, ev.ExternalTaskID != task.ExternalID:
		s.violate(truth, "the completion of %s names task %s (%s), want %s (%s)", token, ev.TaskID, ev.ExternalTaskID, task.ID, task.ExternalID)
	}
}

// number returns the number of the message that metadata names, or zero.
func (a *asked) number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > len(a.messages) {
		return 0
	}
	return n
}

// ends are the completions that a wish allows.
func (w wish) ends() []events.Status {
	ends := []events.Status{map[string]events.Status{
		goesWell: events.StatusSucceed, fails: events.StatusFailed, failsFirst: events.StatusSucceed, refused: events.StatusRejected,
	}[w.end]}
	if w.hurried {
		ends = append(ends, events.StatusExpired)
	}
	if w.end == failsFirst && (w.hurried || w.retries == 0) { // there is no time for another, or none is asked for
		ends = append(ends, events.StatusFailed)
	}
	return ends
}

// judgeDead wants the rejected message as it came.
func (s *system) judgeDead(token string, asked *asked, dead []storedMsg, ev events.Event) {
	if ev.Status != events.StatusRejected {
		if len(dead) > 0 {
			s.violate(deadLetters, "%s is completed as %s and has %d dead letters", token, ev.Status, len(dead))
		}
		return
	}
	if len(dead) != 1 {
		s.violate(deadLetters, "%s was rejected and has %d dead letters", token, len(dead))
		return
	}
	n := asked.number(ev.Metadata[metaMessage])
	if n == 0 || !bytes.Equal(dead[0].Data, asked.messages[n-1].data) {
		s.violate(deadLetters, "message %d of %s was rejected, and the dead letter is %s", n, token, dead[0].Data)
	}
}

// judgeLate wants late events of expired requests with a task only.
func (s *system) judgeLate(token string, late []storedMsg, ev events.Event, tasks []klingtest.TaskView) {
	if len(late) > 1 || len(late) == 1 && (ev.Status != events.StatusExpired || len(tasks) != 1) {
		s.violate(lateOnce, "%s is completed as %s, has %d tasks and %d late events", token, ev.Status, len(tasks), len(late))
	}
}

// verdicts takes in what is found wrong with the form of an event.
type verdicts struct {
	testing.TB
	s *system
}

func (v *verdicts) Errorf(format string, args ...any) { v.s.violate(truth, format, args...) }
