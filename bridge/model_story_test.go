package bridge_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// story is what happens, in the order in which it begins: nothing waits for anything unless a step says so.
type story struct {
	slots    int           // of Kling's video pool
	queryLag time.Duration // how long Kling denies a new task
	steps    []step
}

// step is one event of a story.
type step struct {
	text string
	play func(*stage)
}

func (st story) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Kling takes %d tasks at a time and denies new ones for %s", st.slots, st.queryLag)
	for _, s := range st.steps {
		b.WriteString("\n\t" + s.text)
	}
	return b.String()
}

// GoString is how rapid prints a story.
func (st story) GoString() string { return st.String() }

// stories draws stories. Whatever is drawn has its simplest value first, because that is what rapid shrinks to.
func stories() *rapid.Generator[story] {
	return rapid.Custom(func(t *rapid.T) story {
		return story{
			slots:    pick(t, "slots", 20, 2, 1),
			queryLag: pick(t, "query lag", 0, 0, 400*time.Millisecond),
			steps:    slices.Concat(rapid.SliceOfN(acts(), 1, 6).Draw(t, "acts")...),
		}
	})
}

func pick[T any](t *rapid.T, label string, choices ...T) T {
	return rapid.SampledFrom(choices).Draw(t, label)
}

// acts draws a few steps. Nothing begins or ends with an act, but one list of steps would be short: rapid's lists are.
func acts() *rapid.Generator[[]step] { return rapid.SliceOfN(steps(), 1, 10) }

// steps draws from a pack in which some cards are more frequent.
func steps() *rapid.Generator[step] {
	pack := []struct {
		weight int
		card   func(*rapid.T) step
	}{
		{8, aRequest}, {3, forgedCallback}, {3, contradiction}, {3, honestCallback}, {2, waitForTask}, {2, waitForEnd},
		{2, finish}, {3, crashAtWrite}, {1, crash}, {1, shutdown}, {4, oneMore}, {2, cutOff}, {1, glitchAtWrite}, {2, outage},
	}
	var cards []func(*rapid.T) step
	for _, p := range pack {
		for range p.weight {
			cards = append(cards, p.card)
		}
	}
	return rapid.Custom(func(t *rapid.T) step { return pick(t, "card", cards...)(t) })
}

// anID draws one of few, so that stories come back to them. The last is no subject token.
func anID(t *rapid.T) string { return pick(t, "id", "order-1", "order-2", "order/3 ü") }

// wish is what a request asks for and what Kling makes of it.
type wish struct {
	kind      string
	priority  events.Priority
	end       string // of its task
	creates   trouble
	callbacks gossip
	hurried   bool // its deadline is hurry
	endless   bool // its task runs until Kling is told to finish it
}

// The ends of a task.
const (
	goesWell = "goes well"
	fails    = "fails"
	refused  = "is refused" // there is no task
)

// The kinds that are asked for, one of each API generation.
const (
	kindV1 = "text2video"
	kindV2 = "text-to-video"
)

// hurry is the deadline of a hurried request.
const hurry = 700 * time.Millisecond

// trouble is what the first create calls meet.
type trouble struct {
	name  string
	times int
	fault klingtest.Fault
	blind int // queries that fail after such a call
}

// gossip is what becomes of the callbacks.
type gossip struct {
	name  string
	fault func(end bool) klingtest.CallbackFault
}

func (w wish) duration() time.Duration {
	if w.endless {
		return time.Hour
	}
	return 30 * time.Millisecond
}

func (w wish) String() string {
	text := []string{strings.TrimSuffix(w.kind+"."+string(w.priority), "."), "that " + w.end}
	if w.hurried {
		text = append(text, "within "+hurry.String())
	}
	if w.endless {
		text = append(text, "when it is told to finish")
	}
	for _, name := range []string{w.creates.name, w.callbacks.name} {
		if name != "" {
			text = append(text, name)
		}
	}
	return strings.Join(text, ", ")
}

func aWish(t *rapid.T) wish {
	return wish{
		kind:      pick(t, "kind", kindV1, kindV1, kindV2),
		priority:  pick(t, "priority", events.PriorityNormal, events.PriorityNormal, events.PriorityHigh, events.PriorityLow),
		end:       pick(t, "end", goesWell, goesWell, goesWell, fails, refused),
		creates:   pick(t, "create", troubles()...),
		callbacks: pick(t, "callbacks", gossips()...),
		hurried:   pick(t, "hurried", false, false, false, true),
		endless:   pick(t, "endless", false, false, true),
	}
}

func troubles() []trouble {
	return []trouble{
		{}, {}, {}, {},
		{"the first reply is reset after the task is stored", 1, klingtest.ResetAfterStore, 0},
		{"the first reply is a 504 although the task is stored", 1, klingtest.Gateway504AfterStore, 0},
		{"the first reply is truncated", 1, klingtest.TruncateAfterStore, 0},
		{"the first reply is a 500 although the task is stored", 1, klingtest.Error500AfterStore, 0},
		{"the first reply is reset after the task is stored and the first queries fail", 1, klingtest.ResetAfterStore, 3},
		{"the first call is reset before anything is stored", 1, klingtest.ResetBeforeStore, 0},
		{"the first call ends in a 500 without a task", 1, klingtest.Error500NoTask, 0},
		{"the first two calls end in a 502 without a task", 2, klingtest.HTML502NoTask, 0},
		{"the first call finds no capacity", 1, klingtest.Answer{Code: 1303}, 0},
		{"the first call is too fast", 1, klingtest.TooFast1302, 0},
		{"the first call is too fast and gets no code", 1, klingtest.TooFastNoCode429, 0},
	}
}

func gossips() []gossip {
	none := gossip{"", func(bool) klingtest.CallbackFault { return klingtest.CallbackFault{} }}
	return []gossip{
		none, none, none,
		{"callbacks are lost", func(bool) klingtest.CallbackFault { return klingtest.CallbackFault{Lose: true} }},
		{"the callback of the end is lost", func(end bool) klingtest.CallbackFault { return klingtest.CallbackFault{Lose: end} }},
		{"callbacks come three times", func(bool) klingtest.CallbackFault { return klingtest.CallbackFault{Repeat: 2} }},
		{"callbacks come in the wrong order", func(end bool) klingtest.CallbackFault {
			return klingtest.CallbackFault{Reorder: !end}
		}},
		{"callbacks come before the reply to the create call", func(bool) klingtest.CallbackFault {
			return klingtest.CallbackFault{Early: true} // which means something at the creation only
		}},
	}
}

// aRequest publishes a message. Its id may be known: every message of an id after the first repeats it.
func aRequest(t *rapid.T) step {
	id, w := anID(t), aWish(t)
	return step{fmt.Sprintf("%s asks for a %s", id, w), func(s *stage) { s.submit(id, w) }}
}

// moment is how long a story waits for what may never come.
const moment = 500 * time.Millisecond

func waitForTask(t *rapid.T) step {
	id := anID(t)
	return step{"a moment passes, or Kling has a task for " + id, func(s *stage) {
		s.within(moment, func() bool { return len(s.tasksOf(events.Token(id))) > 0 })
	}}
}

func waitForEnd(t *rapid.T) step {
	id := anID(t)
	return step{"a moment passes, or " + id + " is completed", func(s *stage) {
		s.within(moment, func() bool { return s.has(s.subjects.CompletionOf(events.Token(id))) })
	}}
}

// withTask is a step about the task of a request, which passes when there is none after a moment.
func withTask(id, text string, play func(*stage, klingtest.TaskView)) step {
	return step{text, func(s *stage) {
		token := events.Token(id)
		if s.requests[token] != nil && s.within(moment, func() bool { return len(s.tasksOf(token)) > 0 }) {
			play(s, s.tasksOf(token)[0])
		}
	}}
}

func finish(t *rapid.T) step {
	id := anID(t)
	return withTask(id, "Kling finishes the task of "+id, func(s *stage, task klingtest.TaskView) { s.finish(task) })
}

func honestCallback(t *rapid.T) step {
	id := anID(t)
	return withTask(id, "Kling calls back once more about "+id, func(s *stage, task klingtest.TaskView) {
		answered := s.callBack(task.CallbackURL, callbackBody(task, task.Status))
		s.tell("  callback %s of %s is answered %d", task.Status, id, answered)
		s.checkAnswer(task, task.Status, answered)
	})
}

func callbackBody(task klingtest.TaskView, status string) string {
	if task.Kind.Name == kindV2 {
		return v2Body(task, status)
	}
	return v1Body(task, status)
}

// success is a callback body that says that a task went well.
func success(task klingtest.TaskView) string {
	if task.Kind.Name == kindV2 {
		return callbackBody(task, klingtest.StatusSucceeded)
	}
	return callbackBody(task, klingtest.StatusSucceed)
}

func forgedCallback(t *rapid.T) step {
	const changed, borrowed, none = "a changed signature", "the signature of another request", "no signature"
	id, forgery := anID(t), pick(t, "forgery", none, changed, borrowed)
	return withTask(id, fmt.Sprintf("a stranger says with %s that %s went well", forgery, id),
		func(s *stage, task klingtest.TaskView) {
			cut := strings.LastIndex(task.CallbackURL, "/")
			url, signature := task.CallbackURL[:cut], task.CallbackURL[cut+1:]
			switch forgery {
			case changed:
				url += "/" + signature[1:] + signature[:1]
			case borrowed:
				url = strings.TrimSuffix(url, tokenOf(task)) + "order-9/" + signature
			}
			s.checkRefusal("a forged callback", s.callBack(url, success(task)), http.StatusNotFound)
		})
}

func contradiction(t *rapid.T) step {
	id := anID(t)
	return withTask(id, "a callback at the URL of "+id+" speaks of another task", func(s *stage, task klingtest.TaskView) {
		other := task
		other.ExternalID = "somebody-elses"
		s.checkRefusal("a contradicting callback", s.callBack(task.CallbackURL, success(other)), http.StatusConflict)
	})
}

func outage(t *rapid.T) step {
	return pick(t, "outage",
		step{"Kling and NATS are well", (*stage).mend},
		step{"Kling refuses the key", func(s *stage) { s.sim.SetAuthOutage(1002) }},
		step{"the resource pack is used up", func(s *stage) { s.sim.SetAuthOutage(1102) }},
		step{"Kling is under maintenance", func(s *stage) { s.sim.SetMaintenance(true) }},
	)
}

// withReplica is a step about one of the running replicas, which passes when none runs.
func withReplica(t *rapid.T, text string, play func(*stage, *replica)) step {
	n := rapid.IntRange(0, atMost-1).Draw(t, "replica")
	return step{fmt.Sprintf("replica %d %s", n+1, text), func(s *stage) {
		if running := s.running(); len(running) > 0 {
			play(s, running[n%len(running)])
		}
	}}
}

func shutdown(t *rapid.T) step {
	return withReplica(t, "is told to stop and has no time to", (*stage).stop)
}

func crash(t *rapid.T) step { return withReplica(t, "dies", (*stage).kill) }

func cutOff(t *rapid.T) step {
	return withReplica(t, "can't reach NATS until it is well again", func(_ *stage, r *replica) { r.link.setDown(true) })
}

func glitchAtWrite(t *rapid.T) step {
	n := rapid.IntRange(1, 4).Draw(t, "write")
	return withReplica(t, fmt.Sprintf("loses its connection in the middle of its write number %d from now", n),
		func(s *stage, r *replica) {
			r.link.breakAtWrite(n, func() { s.tell("  replica %s loses its connection", r.name) })
		})
}

func crashAtWrite(t *rapid.T) step {
	n := rapid.IntRange(1, 6).Draw(t, "write")
	return withReplica(t, fmt.Sprintf("dies in the middle of its write number %d from now", n), func(s *stage, r *replica) {
		r.link.breakAtWrite(n, func() { s.kill(r) })
	})
}

// atMost is how many replicas run at a time.
const atMost = 2

func oneMore(*rapid.T) step {
	return step{"one more replica starts", func(s *stage) {
		if len(s.running()) < atMost {
			s.startReplica()
		}
	}}
}
