package chaos_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// retries is how often the failed tasks of a request may be made again, in the world of several accounts.
const retries = 2

// The fates of requests whose first tasks Kling fails for no fault of theirs.
const (
	fateFailsOnce  fate = "fails once"
	fateFailsTwice fate = "fails twice"
)

// failures is how many tasks of a request Kling fails, if it goes on asking.
func (f fate) failures() int {
	switch f {
	case fateFailsOnce:
		return 1
	case fateFailsTwice:
		return 2
	case fateFails:
		return retries + 1
	default:
		return 0
	}
}

// tryInID is the number of a further try, in the external id of its task.
var tryInID = regexp.MustCompile(`^[^-_]+_([2-9])[-_]`)

// tryOf is which try of its request a task is of, from 1.
func tryOf(t klingtest.TaskView) int {
	if found := tryInID.FindStringSubmatch(t.ExternalID); found != nil {
		return int(found[1][0] - '0')
	}
	return 1
}

// fail is how Kling ends tasks of several tries.
func (w *world) fail(t klingtest.TaskView) (message string, fails bool) {
	return "generation failed", tryOf(t) <= w.fateOf(t).failures()
}

// charge has Kling take something for what it fails, too, of the API that says so in one field.
func charge(_ klingtest.Rendering, t klingtest.TaskView, object json.RawMessage) json.RawMessage {
	if t.Status != klingtest.StatusFailed {
		return nil
	}
	return bytes.Replace(object, []byte(`"final_unit_deduction":"0"`), []byte(`"final_unit_deduction":"0.35"`), 1)
}

// account is one at Kling.
type account struct {
	*klingtest.Running
	name string
}

func keyOf(name string) string { return "key-of-" + name }

// openAccounts simulates accounts with few slots each, of which nobody is told. They are told apart by their keys.
func (w *world) openAccounts(s setup) {
	for i, name := range s.accounts {
		o := w.kling(s)
		o.APIKeys, o.Seed = []string{keyOf(name)}, w.seed+uint64(i)
		o.Slots = map[kling.Pool]int{kling.PoolVideo: 4 - i, kling.PoolImage: 5 - i, kling.PoolTryOn: 2}
		o.Fail, o.Faults.Reshape = w.fail, charge
		a := account{klingtest.Start(w.t, o), name}
		w.accounts, w.router = append(w.accounts, a), append(w.router, a.Server)
	}
	if len(w.accounts) > 0 {
		w.sim = w.accounts[0].Running
	}
}

// accountsEnvironment names the accounts to the program.
func accountsEnvironment(s setup) (env []string) {
	if len(s.accounts) == 0 {
		return nil
	}
	env = append(env, "KLING_ACCOUNTS="+strings.Join(s.accounts, ","), fmt.Sprint("BRIDGE_RETRIES=", retries))
	for _, name := range s.accounts {
		env = append(env, "KLING_ACCOUNT_"+strings.ToUpper(name)+"_API_KEY="+keyOf(name))
	}
	return env
}

// tasks are those of all accounts.
func (w *world) tasks() (all []klingtest.TaskView) {
	if len(w.accounts) == 0 {
		return w.sim.Tasks()
	}
	for _, a := range w.accounts {
		all = append(all, a.Tasks()...)
	}
	return all
}

// killOnAccounts kills a replica at each point, as elsewhere. In between an account's key is revoked, or its credit used up, for
// as long as one batch takes to come to its point, and the callback of each task comes with what is said of another account's.
func (w *world) killOnAccounts(requests, kills int) {
	w.t.Helper()
	stop := w.mixCallbacks()
	defer stop()
	for i := range kills {
		p := accountPoints()[i%len(accountPoints())]
		restore := func() {}
		if p.needs() == "" {
			restore = w.failAccount(i)
		}
		w.killAt(p, share(requests, kills, i))
		restore()
	}
}

// failAccount has something be wrong with an account that a person has to mend.
func (w *world) failAccount(i int) (restore func()) {
	a := w.accounts[i%len(w.accounts)]
	if i%2 == 0 {
		a.SetAuthOutage(1002)
		return func() { a.SetAuthOutage(0) }
	}
	a.SetCredits(1)
	return func() { a.SetCredits(-1) }
}

// accountPoints are those of a further try, and all others.
func accountPoints() []point {
	return append([]point{pointRetry, pointQueued, pointCreated, pointCompleted, pointIntend, pointAnnounce}, points()...)
}

// mixCallbacks posts to the URL of one account's task what another one says of its own, until stop is called.
func (w *world) mixCallbacks() (stop func()) {
	var forging sync.WaitGroup
	over := make(chan struct{})
	forging.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				w.mixOne()
				w.wait(2 * tick)
			}
		}
	})
	return func() {
		close(over)
		forging.Wait()
	}
}

// mixOne says of a task that has not ended what was said of one that has, on another account.
func (w *world) mixOne() {
	for i, a := range w.accounts {
		open := a.Tasks()
		at := slices.IndexFunc(open, func(t klingtest.TaskView) bool { return !t.Ended() })
		if at < 0 {
			continue
		}
		e, ok := w.saidOf(w.accounts[(i+1)%len(w.accounts)].Tasks(), open[at])
		if !ok {
			continue
		}
		u, err := url.Parse(open[at].CallbackURL)
		if err != nil {
			continue
		}
		e.url = u.String()
		status, err := w.say(e)
		if err == nil && status != http.StatusConflict && status != http.StatusServiceUnavailable {
			w.t.Errorf("the end of another account's task at the URL of %s was answered %d, want 409", open[at].ExternalID, status)
		}
		w.mu.Lock()
		w.mixed[status]++
		w.mu.Unlock()
	}
}

// saidOf is what Kling said of the end of one of the tasks, of the same kind as another one and not of its request.
func (w *world) saidOf(tasks []klingtest.TaskView, other klingtest.TaskView) (e ending, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range slices.Backward(tasks) {
		if e, ok = w.ends[t.ID]; ok && t.Kind.Name == other.Kind.Name && tokenOf(t) != tokenOf(other) {
			return e, true
		}
	}
	return ending{}, false
}

// tries compares a completion with all tasks of its request, in the order in which they were tried.
func (a *audit) tries(token string, ev events.Event, tasks []klingtest.TaskView) error {
	slices.SortFunc(tasks, func(one, other klingtest.TaskView) int { return tryOf(one) - tryOf(other) })
	var units big.Rat
	for i, t := range tasks {
		if tryOf(t) != i+1 {
			return fmt.Errorf("task %s (%s) is not of try %d", t.ID, t.ExternalID, i+1)
		}
		made, err := a.clientOf(t).QueryExternal(a.w.ctx, t.Kind, t.ExternalID)
		if err != nil {
			return err
		}
		if n, ok := new(big.Rat).SetString(made.Units); ok {
			units.Add(&units, n)
		}
		if last := i == len(tasks)-1; last {
			break
		}
		if i >= len(ev.Tries) || ev.Tries[i].TaskID != t.ID || ev.Tries[i].ExternalTaskID != t.ExternalID || ev.Tries[i].Account != a.accountOf(t) {
			return fmt.Errorf("tries %+v, want task %s (%s) of account %s as number %d", ev.Tries, t.ID, t.ExternalID, a.accountOf(t), i+1)
		}
	}
	if len(ev.Tries) != len(tasks)-1 {
		return fmt.Errorf("%d tries before the last, want %d", len(ev.Tries), len(tasks)-1)
	}
	if n := len(a.retryings(token)); n != len(tasks)-1 {
		return fmt.Errorf("%d retrying events, want %d", n, len(tasks)-1)
	}
	if told, ok := new(big.Rat).SetString(ev.Units); !ok || told.Cmp(&units) != 0 {
		return fmt.Errorf("%q units, want %s", ev.Units, units.FloatString(2))
	}
	return nil
}

func (a *audit) retryings(token string) (all []message) {
	for _, m := range a.ofType(token, events.TypeProgress) {
		if m.parsed.Status == events.StatusRetrying {
			all = append(all, m)
		}
	}
	return all
}

// accountOf names the account that has a task, as events do.
func (a *audit) accountOf(t klingtest.TaskView) string {
	for _, account := range a.w.accounts {
		if slices.ContainsFunc(account.Tasks(), func(of klingtest.TaskView) bool { return of.ID == t.ID }) {
			return account.name
		}
	}
	return kling.DefaultAccount
}

// clientOf asks the account that has a task.
func (a *audit) clientOf(t klingtest.TaskView) *kling.Client { return a.clients[a.accountOf(t)] }
