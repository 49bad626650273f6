package bridge_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// modelAccount is one of the accounts at Kling.
type modelAccount struct {
	name   string
	sim    *klingtest.Server
	api    *httptest.Server
	client *kling.Client
}

// taskKey names a task that there may be.
type taskKey struct {
	account    int
	externalID string
}

// openAccount simulates an account that does as the requests' wishes say. One by itself has no name.
func (s *system) openAccount(i int, st story) error {
	a := &modelAccount{name: kling.DefaultAccount}
	if st.accounts > 1 {
		a.name = fmt.Sprintf("account-%d", i+1)
	}
	key := fmt.Sprint("key-of-", a.name)
	var simErr, clientErr error
	a.sim, simErr = klingtest.New(klingtest.Options{
		APIKeys:         []string{key},
		Seed:            uint64(s.began.UnixNano()) + uint64(i), // no two have the same ids
		Slots:           map[kling.Pool]int{kling.PoolVideo: st.slots},
		CapacityByModel: st.byModel,
		SubmittedFor:    10 * time.Millisecond,
		DurationOf:      func(v klingtest.TaskView) time.Duration { return s.messageOf(v).wish.duration() },
		Fail:            failOf,
		QueryLag:        st.queryLag,
		CallbackHTTP:    &http.Client{Transport: s, Timeout: 5 * time.Second},
		Observe:         func(e klingtest.Event) { s.observe(i, e) },
		Faults: klingtest.Faults{
			Create: func(v klingtest.CreateView) klingtest.Fault { return s.create(i, v) },
			Query:  func(v klingtest.QueryView) klingtest.Fault { return s.query(i, v) },
			Callback: func(v klingtest.CallbackView) klingtest.CallbackFault {
				return s.messageOf(v.TaskView).wish.callback(v.Ended())
			},
			OddShape: st.oddity,
		},
	})
	a.api = httptest.NewServer(a.sim)
	a.client, clientErr = kling.NewClient(kling.Options{
		BaseURL: a.api.URL, Credentials: kling.Credentials{APIKey: key}, Timeout: 5 * time.Second, TracerProvider: noop.NewTracerProvider(),
	})
	s.accounts = append(s.accounts, a)
	return errors.Join(simErr, clientErr)
}

// configured are the accounts as a replica has them.
func (s *system) configured() (all []kling.Account) {
	for _, a := range s.accounts {
		all = append(all, kling.Account{Name: a.name, Client: a.client})
	}
	return all
}

func (s *system) closeAccounts() {
	for _, a := range s.accounts {
		a.sim.Close()
	}
}

// failsFirstMark is in the prompt of a request whose first task fails.
const failsFirstMark = " flaky"

func failOf(v klingtest.TaskView) (message string, fail bool) {
	if strings.Contains(v.Prompt, failsFirstMark) {
		return "bad luck", tryOf(v) == 1
	}
	return klingtest.FailAsPrompted(v)
}

// tryInID is the number of a further try, in the external id of its task.
var tryInID = regexp.MustCompile(`^[^-_]+_([2-9])[-_]`)

// tryOf is which try of its request a task is of, from 1.
func tryOf(v klingtest.TaskView) int {
	if found := tryInID.FindStringSubmatch(v.ExternalID); found != nil {
		return int(found[1][0] - '0')
	}
	return 1
}

// tasks lists those of all accounts.
func (s *system) tasks() (all []klingtest.TaskView) {
	for _, a := range s.accounts {
		all = append(all, a.sim.Tasks()...)
	}
	return all
}

// tasksOf returns the tasks Kling has for a request, in the order of its tries.
func (s *system) tasksOf(token string) []klingtest.TaskView {
	of := slices.DeleteFunc(s.tasks(), func(v klingtest.TaskView) bool { return tokenOf(v) != token })
	slices.SortStableFunc(of, func(a, b klingtest.TaskView) int { return tryOf(a) - tryOf(b) })
	return of
}

// finish ends a task.
func (s *system) finish(task klingtest.TaskView) {
	for _, a := range s.accounts {
		if slices.ContainsFunc(a.sim.Tasks(), func(v klingtest.TaskView) bool { return v.ID == task.ID }) {
			if err := a.sim.Finish(task.ID); err != nil {
				s.violate(aSoundTest, "%v", err)
			}
		}
	}
}
