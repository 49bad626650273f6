package dispatch

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/events"
)

// countingKling takes tasks up to limits by pool, by model, or both, and has a pool of the bridge send to it.
type countingKling struct {
	pool    *Pool
	limit   int            // of all tasks; zero: none
	limits  map[string]int // by model; absent: none
	takes   time.Duration  // a task
	latency time.Duration  // of a call, at most
	lag     time.Duration  // until the bridge knows of a task's end, at most

	mu       sync.Mutex
	rng      *rand.Rand
	inFlight map[string]int
	total    int
	refused  int
	left     int // tasks that have not ended
	done     chan struct{}
}

func (k *countingKling) wait(most time.Duration) time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return most/2 + time.Duration(k.rng.Int64N(int64(most/2)))
}

// create is the work of the pool.
func (k *countingKling) create(j *Job) Result {
	time.Sleep(k.wait(k.latency) / 2)
	took := k.take(j)
	time.Sleep(k.wait(k.latency) / 2)
	if !took {
		return NoCapacity()
	}
	j.Accepted()
	return Settled()
}

func (k *countingKling) take(j *Job) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	limit, ok := k.limits[j.Req.Model]
	if k.limit > 0 && k.total >= k.limit || ok && k.inFlight[j.Req.Model] >= limit {
		k.refused++
		return false
	}
	k.total++
	k.inFlight[j.Req.Model]++
	time.AfterFunc(k.takes, func() { k.end(j) })
	return true
}

func (k *countingKling) end(j *Job) {
	lag := k.wait(k.lag)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.total--
	k.inFlight[j.Req.Model]--
	if k.left--; k.left == 0 {
		close(k.done)
	}
	time.AfterFunc(lag, func() {
		j.share.Slots.release(j.Req.Token, time.Time{})
		k.pool.Freed()
	})
}

// run sends requests of those models, in this order, and returns how long they took and how many answers were refusals.
func (k *countingKling) run(t *testing.T, seed uint64, models []string) (took time.Duration, refused int) {
	t.Helper()
	k.rng = rand.New(rand.NewPCG(seed, 0))
	k.inFlight, k.left, k.done = map[string]int{}, len(models), make(chan struct{})
	k.pool = testPool(k.create)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		k.pool.Dispatch(stop)
	}()
	began := time.Now()
	for i, model := range models {
		j := testJob(t, fmt.Sprint(i), "text2video", events.PriorityNormal)
		j.Req.Model = model
		k.pool.add(j)
	}
	<-k.done
	took = time.Since(began)
	time.Sleep(time.Minute) // until all is known
	close(stop)
	<-stopped
	return took, k.refused
}

// mixes are orders in which requests of two models may come.
var mixes = map[string]func(rng *rand.Rand, models []string){
	"one model after the other": func(_ *rand.Rand, models []string) { slices.Sort(models) },
	"the other way around": func(_ *rand.Rand, models []string) {
		slices.Sort(models)
		slices.Reverse(models)
	},
	"mixed": func(rng *rand.Rand, models []string) {
		rng.Shuffle(len(models), func(a, b int) { models[a], models[b] = models[b], models[a] })
	},
}

var seeds = flag.Int("ceiling.seeds", 1, "orders of requests that TestLimitsAreLearned tries of each mix")

// TestLimitsAreLearned works off requests of two models where Kling counts tasks by pool, and where it counts them by
// model, which nobody tells the bridge.
func TestLimitsAreLearned(t *testing.T) {
	for name, c := range map[string]struct {
		limit  int
		limits map[string]int
		counts [2]int  // of requests
		rounds float64 // of tasks, at best
	}{
		"by model":                {0, map[string]int{"a": 2, "b": 20}, [2]int{30, 30}, 15},
		"by model, alike":         {0, map[string]int{"a": 5, "b": 5}, [2]int{60, 60}, 12},
		"by model, one used more": {0, map[string]int{"a": 2, "b": 20}, [2]int{10, 200}, 10},
		"by pool":                 {22, nil, [2]int{30, 30}, 3},
		"by pool, used long":      {8, nil, [2]int{60, 60}, 15},
		"by pool, one used more":  {22, nil, [2]int{10, 210}, 10},
		"one model":               {20, nil, [2]int{0, 200}, 10},
	} {
		for mix, order := range mixes {
			t.Run(name+", "+mix, func(t *testing.T) {
				for seed := range uint64(*seeds) {
					synctest.Test(t, func(t *testing.T) {
						k := &countingKling{
							limit: c.limit, limits: c.limits, takes: 2 * time.Second, latency: 20 * time.Millisecond, lag: 20 * time.Millisecond,
						}
						models := slices.Concat(slices.Repeat([]string{"a"}, c.counts[0]), slices.Repeat([]string{"b"}, c.counts[1]))
						order(rand.New(rand.NewPCG(seed, 1)), models)
						took, refused := k.run(t, seed, models)
						if ratio := took.Seconds() / (c.rounds * k.takes.Seconds()); ratio > 1.15 {
							t.Errorf("seed %d: took %.3f of the ideal time, want at most 1.15", seed, ratio)
						}
						if share := float64(refused) / float64(len(models)); share > 0.2 {
							t.Errorf("seed %d: %.3f refusals a request, want at most 0.2", seed, share)
						}
					})
				}
			})
		}
	}
}

// TestLimitsThatChange has the account's plan change while requests of two models are worked off.
func TestLimitsThatChange(t *testing.T) {
	const before, after, each = 6, 18, 150
	for name, c := range map[string]struct{ from, to int }{"more": {before, after}, "less": {after, before}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &countingKling{
					limit: c.from, takes: 2 * time.Second, latency: 20 * time.Millisecond, lag: 20 * time.Millisecond,
				}
				change := 10 * k.takes
				time.AfterFunc(change, func() {
					k.mu.Lock()
					defer k.mu.Unlock()
					k.limit = c.to
				})
				models := slices.Repeat([]string{"a", "b"}, each)
				took, refused := k.run(t, 0, models)
				ideal := change.Seconds() + float64(2*each-10*c.from)/float64(c.to)*k.takes.Seconds()
				t.Logf("took %.3f of the ideal time, %d refusals", took.Seconds()/ideal, refused)
				if ratio := took.Seconds() / ideal; ratio > 1.25 {
					t.Errorf("took %.3f of the ideal time, want at most 1.25", ratio)
				}
				if share := float64(refused) / (2 * each); share > 0.2 {
					t.Errorf("%.3f refusals a request, want at most 0.2", share)
				}
			})
		})
	}
}

// TestRefusalOfPoolOrModel walks through what refusals and tasks tell of a pool and of the models in it.
func TestRefusalOfPoolOrModel(t *testing.T) {
	now := time.Now()
	tasks := 0
	begin := func(t *testing.T, s *Slots, model string, want bool) (token string) {
		t.Helper()
		tasks++
		token = fmt.Sprint(tasks)
		if got := s.reserve(token, request.Need{N: 1, Model: model}, now); got.ok != want {
			t.Fatalf("a task of %s may be begun: %v, want %v", model, got.ok, want)
		}
		return token
	}
	took := func(t *testing.T, s *Slots, model string) (token string) {
		t.Helper()
		token = begin(t, s, model, true)
		s.accepted(token)
		return token
	}
	refused := func(t *testing.T, s *Slots, model string) {
		t.Helper()
		s.refused(begin(t, s, model, true), request.Need{N: 1, Model: model}, now)
	}
	full := func(t *testing.T, s *Slots, model string) { t.Helper(); begin(t, s, model, false) }

	t.Run("another model has room", func(t *testing.T) {
		s := NewSlots(0)
		took(t, s, "a")
		took(t, s, "b")
		refused(t, s, "a")
		full(t, s, "a")
		took(t, s, "b") // so it was not the pool
		took(t, s, "b")
		full(t, s, "a")
	})
	t.Run("another model is refused too", func(t *testing.T) {
		s := NewSlots(0)
		first := took(t, s, "a")
		took(t, s, "b")
		refused(t, s, "a")
		refused(t, s, "b")
		full(t, s, "a")
		full(t, s, "b")
		s.release(first, time.Time{})
		took(t, s, "b") // more than it had when it was refused
		full(t, s, "a")
		refused(t, s, "c") // which nobody had tried
		full(t, s, "c")
	})
	t.Run("the pool has room again", func(t *testing.T) {
		for _, room := range []bool{true, false} {
			s := NewSlots(0)
			took(t, s, "a")
			other := took(t, s, "b")
			refused(t, s, "a")
			s.release(other, time.Time{})
			if room {
				took(t, s, "a") // so it was the pool
				full(t, s, "a")
				refused(t, s, "b")
				continue
			}
			refused(t, s, "a") // so it is the model
			took(t, s, "b")
			took(t, s, "b")
			full(t, s, "a")
		}
	})
}

// TestTriesOfAFullPool has a pool that is full with a long task be tried: soon after it was found full, and after a refused
// try only once tasks have begun meanwhile or a minute has passed.
func TestTriesOfAFullPool(t *testing.T) {
	of, now := request.Need{N: 1, Model: "a"}, time.Now()
	for _, c := range []struct {
		tasks int // that begin after the refused try
		after time.Duration
		want  bool
	}{
		{0, maxProbeWait / 2, false},
		{tryStep - 1, maxProbeWait / 2, false},
		{tryStep, maxProbeWait / 2, true},
		{0, maxProbeWait, true},
	} {
		s := NewSlots(0)
		s.reserve("long", of, now)
		s.accepted("long")
		s.refused("found full", of, now)
		tried := now.Add(firstProbeWait)
		if !s.reserve("try", of, tried).ok {
			t.Fatal("a pool that was found full is not tried soon")
		}
		s.refused("try", of, tried)
		s.limit, s.refusals = 1+c.tasks, map[string]int{"a": 1 + c.tasks}
		for i := range c.tasks {
			s.reserve(fmt.Sprint(i), of, tried)
			s.accepted(fmt.Sprint(i))
		}
		if got := s.reserve("again", of, tried.Add(c.after)); got.ok != c.want {
			t.Errorf("%d tasks and %s after a refused try it is tried again: %v, want %v", c.tasks, c.after, got.ok, c.want)
		}
	}
}

// TestRefusalsThatSayNothingNew are those that others' calls explain, and tasks that may not exist are no proof of room.
func TestRefusalsThatSayNothingNew(t *testing.T) {
	now, one := time.Now(), request.Need{N: 1, Model: "a"}
	full := func(t *testing.T, n int) *Slots {
		t.Helper()
		s := NewSlots(0)
		for i := range n {
			s.hold(fmt.Sprint("task-", i), one, now)
		}
		s.refused("found full", one, now)
		s.refused("try", one, now.Add(firstProbeWait))
		return s
	}
	t.Run("another replica was faster", func(t *testing.T) {
		s := full(t, 2)
		s.release("task-0", time.Time{})
		s.reserve("mine", one, now)
		s.taken(place{token: "theirs"}, one, now)
		s.refused("mine", one, now)
		if pool, model := s.limits("a"); pool != 2 || model != 2 {
			t.Errorf("limits of %d and %d were learned, want 2", pool, model)
		}
	})
	t.Run("with another model", func(t *testing.T) {
		s, other := full(t, 2), request.Need{N: 1, Model: "b"}
		s.release("task-0", time.Time{})
		s.reserve("mine", other, now)
		s.taken(place{token: "theirs"}, other, now)
		s.refused("mine", other, now)
		if known := s.refusals["b"]; known != 1 {
			t.Errorf("the model has %d if the pool was not full, want 1: the other's call", known)
		}
	})
	t.Run("nobody was", func(t *testing.T) {
		s := full(t, 2)
		s.release("task-0", time.Time{})
		s.reserve("mine", one, now)
		s.refused("mine", one, now)
		if pool, _ := s.limits("a"); pool != 1 {
			t.Errorf("a limit of %d was learned, want 1", pool)
		}
	})
	t.Run("a task that may not exist", func(t *testing.T) {
		s := full(t, 1)
		s.release("task-0", time.Time{})
		s.reserve("unknown", one, now)
		s.suspect("unknown")
		s.hold("theirs", one, now)
		if pool, model := s.limits("a"); pool != 1 || model != 1 {
			t.Errorf("limits of %d and %d, want 1: one task is certain", pool, model)
		}
		s.accepted("unknown")
		if pool, _ := s.limits("a"); pool != 2 {
			t.Errorf("a limit of %d, want 2: both tasks are certain", pool)
		}
	})
}
