package bridge_test

import (
	"flag"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

var (
	storyRequests = flag.Int("accounts.requests", 150, "requests in the story of three accounts")
	storyTask     = flag.Duration("accounts.task", 200*time.Millisecond, "how long its tasks take; from a second on it is judged how busy slots are")
)

// TestThreeAccounts is the story of three accounts and as many replicas: one runs out of credit in the middle and is given more,
// one's key is revoked and restored, answers get lost, and a replica ends.
func TestThreeAccounts(t *testing.T) {
	t.Parallel()
	const replicas = 3
	requests := *storyRequests
	sim := klingtest.Options{SubmittedFor: 20 * time.Millisecond, Duration: *storyTask}
	lossy, poor := sim, sim
	lossy.Faults, poor.Credits = klingtest.Faults{LoseReply: 0.1}, requests/5
	main, burst, last := openAccount(t, "main", 8, lossy), openAccount(t, "burst", 4, poor), openAccount(t, "last", 2, sim)
	accounts := []*simAccount{main, burst, last}
	w := start(t, setup{replicas: replicas, bridge: on(t, accounts...)})
	w.submitMany("r", requests)
	made := func(parts int) func() bool {
		return func() bool { return len(tasksOf(accounts...)) >= requests*parts/10 }
	}
	w.atLength("the key is revoked in the middle", made(3))
	main.SetAuthOutage(1002)
	w.replicas[2].stop()
	w.atLength("credit is used up", func() bool { return burst.Calls().RefusedCreates[codeNoCredit] > 0 })
	w.atLength("both are missed for a while", made(6))
	main.SetAuthOutage(0)
	burst.SetCredits(-1)
	w.atLength("every request has ended", func() bool { return w.count("KLING_EVENTS", "kling.completion.>") == uint64(requests) })
	if n := w.count("KLING_EVENTS", "kling.completion.*.succeed.>"); n != uint64(requests) {
		t.Errorf("%d of %d requests succeeded", n, requests)
	}
	if n := onceEach(t, accounts...); n != requests {
		t.Errorf("%d tasks for %d requests", n, requests)
	}
	refused := 0
	for _, a := range accounts {
		refused += a.Calls().RefusedCreates[codeNoCapacity]
		t.Logf("%s: %d tasks, refused %v", a.name, len(a.Tasks()), a.Calls().RefusedCreates)
	}
	most := max(requests/10, 4*replicas*len(accounts)) // each replica finds each limit by itself, with a few refusals
	if t.Logf("%.3f refusals for want of capacity a request", float64(refused)/float64(requests)); refused > most {
		t.Errorf("%d refusals for want of capacity, want at most %d", refused, most)
	}
	busy := healthyUse(last, 2, accounts)
	if t.Logf("slots of the account that nothing happened to: %.3f busy", busy); *storyTask >= time.Second && busy < 0.95 {
		t.Errorf("they were %.3f busy, want at least 0.95", busy)
	}
}

// tasksOf lists the tasks of all accounts.
func tasksOf(accounts ...*simAccount) (all []klingtest.TaskView) {
	for _, a := range accounts {
		all = append(all, a.Tasks()...)
	}
	return all
}

// healthyUse is the share of an account's slots that were busy while there was work: from its first task until there was the last
// of any account.
func healthyUse(a *simAccount, slots int, accounts []*simAccount) float64 {
	var until time.Time
	for _, task := range tasksOf(accounts...) {
		if task.CreatedAt.After(until) {
			until = task.CreatedAt
		}
	}
	var busy time.Duration
	for _, task := range a.Tasks() {
		end := task.EndedAt
		if end.After(until) {
			end = until
		}
		busy += end.Sub(task.CreatedAt)
	}
	return busy.Seconds() / (float64(slots) * until.Sub(a.Tasks()[0].CreatedAt).Seconds())
}

// atLength is eventually for what takes as long as so many tasks do.
func (w *world) atLength(what string, holds func() bool) {
	w.t.Helper()
	for range 1 + *storyRequests/100 {
		if clocktest.Within(patience, holds) {
			return
		}
	}
	w.t.Fatalf("waited in vain until %s", what)
}
