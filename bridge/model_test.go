package bridge_test

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
)

// TestModel makes stories up, plays each with real replicas of the bridge between a real NATS server and a simulated
// Kling, and holds what is left to the promises of the contract. A story is a random sequence of requests, repeats,
// callbacks honest and forged, outages, crashes in the middle of a write, and starts; see [story]. What the promises
// allow is in the judge.
//
//	go test ./bridge -run TestModel                       # a short while
//	go test ./bridge -run TestModel -rapid.checks 500     # 500 stories
//
// A failure names the promise that was broken and shows the shortest story found that breaks it, once as it was made up
// ("draw story") and once as it happened: a line for each step, indented once what Kling and the replicas did meanwhile,
// indented twice what the replicas logged, and BROKEN where something was not allowed. It can be told again with what
// rapid prints:
//
//	go test ./bridge -run 'TestModel/system-3' -rapid.failfile testdata/rapid/…
//
// Replicas race, so that not every telling of a story goes the same way: while a failure is being shrunk each story is
// played several times at once.
//
// A new kind of event is one more card in [steps] and what it may lead to in the judge.
//
// It plays so much at a time by itself that it does not run beside other tests.
func TestModel(t *testing.T) {
	setRapid(t)
	th := newHarness(t)
	var failed atomic.Pointer[player]
	var playing sync.WaitGroup
	for n := range systems {
		playing.Go(func() {
			t.Run(fmt.Sprintf("system-%d", n+1), rapid.MakeCheck((&player{harness: th, failed: &failed}).check))
		})
	}
	playing.Wait()
}

const (
	// systems is how many stories are played at a time: most of the time of each is waiting.
	systems = 8
	// tellings is how often a story is played while a failure is being shrunk.
	tellings = 4
)

// player plays one story after the other, until one breaks a promise. From then on it plays only variations of that one.
type player struct {
	*harness
	failed *atomic.Pointer[player] // the first player with a failure: the others make room for it
	hunted promise                 // the one that the failure broke
	known  map[string]telling      // by story, so that one that has failed fails again
}

// telling is how a story went.
type telling struct {
	broken []breach
	told   []string
}

// check is the property that rapid tests.
func (tr *player) check(t *rapid.T) {
	st := stories().Draw(t, "story")
	if first := tr.failed.Load(); first != nil && first != tr {
		return
	}
	got := tr.play(st)
	if len(got.broken) == 0 {
		return
	}
	if tr.failed.CompareAndSwap(nil, tr) {
		tr.hunted = got.broken[0].promise
	}
	for _, b := range got.broken {
		if b.promise == tr.hunted {
			t.Logf("as it happened:\n%s", strings.Join(got.told, "\n"))
			t.Fatalf("a promise is broken: %s", tr.hunted)
		}
	}
}

// play plays a story, or remembers how it went.
func (tr *player) play(st story) telling {
	if tr.hunted == "" {
		return tr.keep(st, tr.playOnce(st))
	}
	if got, ok := tr.known[st.String()]; ok {
		return got
	}
	var all [tellings]telling
	var playing sync.WaitGroup
	for i := range all {
		playing.Go(func() { all[i] = tr.playOnce(st) })
	}
	playing.Wait()
	for _, got := range all {
		for _, b := range got.broken {
			if b.promise == tr.hunted {
				return tr.keep(st, got)
			}
		}
	}
	return tr.keep(st, telling{})
}

func (tr *player) keep(st story, got telling) telling {
	if tr.known == nil {
		tr.known = map[string]telling{}
	}
	tr.known[st.String()] = got
	return got
}

func (th *harness) playOnce(st story) telling {
	s, err := th.newSystem(st)
	if err != nil {
		return telling{broken: []breach{{promise: aSoundTest, what: err.Error()}}}
	}
	defer s.close()
	s.startReplica(st.clock)
	if !clocktest.Within(patience, s.ready) {
		s.violate(anyMayDie, "the first replica is not ready")
	}
	for _, step := range st.steps {
		s.tell("%s", step.text)
		step.play(s)
	}
	s.settle()
	s.judge()
	return s.telling()
}

// setRapid changes the defaults of rapid for this test, and lets each of its systems do its part.
func setRapid(t *testing.T) {
	t.Helper()
	values := map[string]string{"rapid.checks": "16", "rapid.shrinktime": "3m"}
	flag.Visit(func(f *flag.Flag) {
		if values[f.Name] != "" {
			values[f.Name] = f.Value.String()
		}
	})
	checks, err := strconv.Atoi(values["rapid.checks"])
	if err != nil {
		t.Fatal(err)
	}
	values["rapid.checks"] = strconv.Itoa((checks + systems - 1) / systems)
	for name, value := range values {
		f := flag.Lookup(name)
		before := f.Value.String()
		if err := f.Value.Set(value); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Value.Set(before) })
	}
}
