package bridge_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// story is what happens, in the order in which it begins: nothing waits for anything unless a step says so.
type story struct {
	accounts int           // at Kling
	slots    int           // of Kling's video pool, of each
	byModel  bool          // each model has so many
	queryLag time.Duration // how long Kling denies a new task
	oddity   float64       // how likely a task object has a field of a type that it never has at Kling
	clock    time.Duration // how far the first replica's is ahead of the NATS server's
	steps    []step
}

// step is one event of a story.
type step struct {
	text string
	play func(*system)
}

func (st story) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Kling has %d accounts and takes %d tasks at a time", st.accounts, st.slots)
	if st.byModel {
		b.WriteString(" of each model")
	}
	fmt.Fprintf(&b, ", denies new ones for %s and shows %g of them oddly", st.queryLag, st.oddity)
	b.WriteString("\n\tthe first replica starts" + clockText(st.clock))
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
			accounts: pick(t, "accounts", 1, 2),
			slots:    pick(t, "slots", 20, 2, 1),
			byModel:  pick(t, "by model", false, false, true),
			queryLag: pick(t, "query lag", 0, 0, 400*time.Millisecond),
			oddity:   pick(t, "oddity", 0, 0.5, 1),
			clock:    aClock(t),
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
		{1, anEdge}, {2, purge}, {1, bound},
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
	model     string // empty where the kind has none
	priority  events.Priority
	end       string // of its task
	retries   int    // how often a failed one may be made again
	creates   trouble
	callbacks gossip
	hurried   bool // its deadline is hurry
	endless   bool // its task runs until Kling is told to finish it
}

// The ends of a task.
const (
	goesWell   = "goes well"
	fails      = "fails"
	failsFirst = "fails, and goes well when it is made again"
	refused    = "is refused" // there is no task
)

// The kinds that are asked for: of each API generation, and two of one that share a lane.
const (
	kindV1       = "text2video"
	kindV1Beside = "text-to-audio"
	kindV2       = "text-to-video"
	kindSolution = "drama-subtitle"
)

// aModel draws one of two models of a kind, or none where it has none.
func aModel(t *rapid.T, kind string) string {
	switch kind {
	case kindV1:
		return pick(t, "model", "kling-v3", "kling-v2-6")
	case kindV2:
		return pick(t, "model", "kling-3.0", "kling-3.0-turbo")
	default:
		return ""
	}
}

// hurry is the deadline of a hurried request.
const hurry = 700 * time.Millisecond

func (w wish) duration() time.Duration {
	if w.endless {
		return time.Hour
	}
	return 30 * time.Millisecond
}

func (w wish) String() string {
	what := strings.TrimSuffix(w.kind+"."+string(w.priority), ".")
	text := []string{strings.TrimSpace(what + " " + w.model), "that " + w.end}
	if w.retries > 0 {
		text = append(text, fmt.Sprintf("tried again %d times", w.retries))
	}
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
	kind := pick(t, "kind", kindV1, kindV1, kindV2, kindSolution, kindV1Beside)
	return wish{
		kind:      kind,
		model:     aModel(t, kind),
		priority:  pick(t, "priority", events.PriorityNormal, events.PriorityNormal, events.PriorityHigh, events.PriorityLow),
		end:       pick(t, "end", goesWell, goesWell, goesWell, fails, failsFirst, refused),
		retries:   pick(t, "retries", 0, 0, 1, 2),
		creates:   pick(t, "create", troubles()...),
		callbacks: pick(t, "callbacks", gossips()...),
		hurried:   pick(t, "hurried", false, false, false, true),
		endless:   pick(t, "endless", false, false, true),
	}
}

// aRequest publishes a message. Its id may be known: every message of an id after the first repeats it.
func aRequest(t *rapid.T) step {
	id, w := anID(t), aWish(t)
	return step{fmt.Sprintf("%s asks for a %s", id, w), func(s *system) { s.submit(id, w) }}
}

// moment is how long a story waits for what may never come.
const moment = 500 * time.Millisecond

func waitForTask(t *rapid.T) step {
	id := anID(t)
	return step{"a moment passes, or Kling has a task for " + id, func(s *system) {
		clocktest.Within(moment, func() bool { return len(s.tasksOf(events.Token(id))) > 0 })
	}}
}

func waitForEnd(t *rapid.T) step {
	id := anID(t)
	return step{"a moment passes, or " + id + " is completed", func(s *system) {
		clocktest.Within(moment, func() bool { return s.has(s.subjects.CompletionOf(events.Token(id))) })
	}}
}

// withTask is a step about the task of a request, which passes when there is none after a moment.
func withTask(id, text string, play func(*system, klingtest.TaskView)) step {
	return step{text, func(s *system) {
		token := events.Token(id)
		if s.requests[token] != nil && clocktest.Within(moment, func() bool { return len(s.tasksOf(token)) > 0 }) {
			play(s, s.tasksOf(token)[0])
		}
	}}
}

func finish(t *rapid.T) step {
	id := anID(t)
	return withTask(id, "Kling finishes the task of "+id, func(s *system, task klingtest.TaskView) { s.finish(task) })
}

func honestCallback(t *rapid.T) step {
	id := anID(t)
	return withTask(id, "Kling calls back once more about "+id, func(s *system, task klingtest.TaskView) {
		if s.messageOf(task).wish.creates.silent {
			return
		}
		answered := s.callBack(task.CallbackURL, callbackBody(task, task.Status))
		s.tell("  callback %s of %s is answered %d", task.Status, id, answered)
		s.checkAnswer(task, task.Status, answered, true)
	})
}

func callbackBody(task klingtest.TaskView, status string) string {
	if task.Kind.Generation == kling.V1 {
		return v1Body(task, status)
	}
	return v2Body(task, status)
}

// success is a callback body that says that a task went well.
func success(task klingtest.TaskView) string {
	if task.Kind.Generation == kling.V1 {
		return callbackBody(task, klingtest.StatusSucceed)
	}
	return callbackBody(task, klingtest.StatusSucceeded)
}

func forgedCallback(t *rapid.T) step {
	const changed, borrowed, none = "a changed signature", "the signature of another request", "no signature"
	id, forgery := anID(t), pick(t, "forgery", none, changed, borrowed)
	return withTask(id, fmt.Sprintf("a stranger says with %s that %s went well", forgery, id),
		func(s *system, task klingtest.TaskView) {
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
	return withTask(id, "a callback at the URL of "+id+" speaks of another task", func(s *system, task klingtest.TaskView) {
		other := task
		other.ExternalID = "somebody-elses"
		if s.messageOf(task).wish.retries > 0 { // what is said of an earlier try says nothing, whatever else it says
			other.ID = "871000000000000999"
		}
		s.checkRefusal("a contradicting callback", s.callBack(task.CallbackURL, success(other)), http.StatusConflict)
	})
}

func outage(t *rapid.T) step {
	n := rapid.IntRange(0, 1).Draw(t, "account")
	on := func(what string, play func(*klingtest.Server)) step {
		return step{fmt.Sprintf("account %d %s", n+1, what), func(s *system) { play(s.accounts[n%len(s.accounts)].sim) }}
	}
	return pick(t, "outage",
		step{"Kling and NATS are well", (*system).mend},
		on("refuses the key", func(sim *klingtest.Server) { sim.SetAuthOutage(1002) }),
		on("has used its resource pack up", func(sim *klingtest.Server) { sim.SetAuthOutage(1102) }),
		on("is under maintenance", func(sim *klingtest.Server) { sim.SetMaintenance(true) }),
	)
}

// withReplica is a step about one of the running replicas, which passes when none runs.
func withReplica(t *rapid.T, text string, play func(*system, *replica)) step {
	n := rapid.IntRange(0, atMost-1).Draw(t, "replica")
	return step{fmt.Sprintf("replica %d %s", n+1, text), func(s *system) {
		if running := s.running(); len(running) > 0 {
			play(s, running[n%len(running)])
		}
	}}
}

func shutdown(t *rapid.T) step {
	return withReplica(t, "is told to stop and has no time to", (*system).stop)
}

func crash(t *rapid.T) step { return withReplica(t, "dies", (*system).kill) }

func cutOff(t *rapid.T) step {
	return withReplica(t, "can't reach NATS until it is well again", func(_ *system, r *replica) { r.link.setDown(true) })
}

func glitchAtWrite(t *rapid.T) step {
	n := rapid.IntRange(1, 4).Draw(t, "write")
	return withReplica(t, fmt.Sprintf("loses its connection in the middle of its write number %d from now", n),
		func(s *system, r *replica) {
			r.link.breakAtWrite(n, func() { s.tell("  replica %s loses its connection", r.name) })
		})
}

func crashAtWrite(t *rapid.T) step {
	n := rapid.IntRange(1, 6).Draw(t, "write")
	return withReplica(t, fmt.Sprintf("dies in the middle of its write number %d from now", n), func(s *system, r *replica) {
		r.link.breakAtWrite(n, func() { s.kill(r) })
	})
}

// atMost is how many replicas run at a time.
const atMost = 2

func oneMore(t *rapid.T) step {
	offset := aClock(t)
	return step{"one more replica starts" + clockText(offset), func(s *system) {
		if len(s.running()) < atMost {
			s.startReplica(offset)
		}
	}}
}

// aClock draws how far a replica's clock is ahead of the NATS server's.
func aClock(t *rapid.T) time.Duration {
	return pick(t, "clock", 0, 0, -20*time.Second, 130*time.Second, 10*time.Minute)
}

func clockText(offset time.Duration) string {
	if offset == 0 {
		return ""
	}
	return fmt.Sprintf(" with a clock that is off by %s", offset)
}
