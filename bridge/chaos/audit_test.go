package chaos_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// cutShort is what Kling finds wrong with a call whose client was killed in the middle of it.
const cutShort = "body can't be read"

// askedTwice is what it finds wrong with questions for the account's costs. A replica keeps to one a second, but knows of no
// other and forgets when it is killed; what is too much is refused and says nothing.
const askedTwice = "/account/costs: more than once a second"

// settle ends everything that goes wrong and returns when every request has a completion and nothing is left to do.
func (w *world) settle() {
	w.t.Helper()
	w.calm.Store(true)
	w.awaitCompletions()
	w.eventually("every late callback was made", w.lateOnesMade)
	w.eventually("no request is left", func() bool { return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0 })
	w.eventually("no record is left", func() bool { return w.count(w.subjects.EventsStream(), w.subjects.StateOf("*")) == 0 })
}

// awaitCompletions waits for as long as there is progress.
func (w *world) awaitCompletions() {
	w.t.Helper()
	for have := -1; have < len(w.asked); {
		last := have
		w.eventually(fmt.Sprintf("there are more than %d completions of %d", last, len(w.asked)), func() bool {
			have = w.count(w.subjects.EventsStream(), w.subjects.AllCompletions())
			return have > last
		})
	}
}

func (w *world) lateOnesMade() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !slices.ContainsFunc(w.tasks(), func(t klingtest.TaskView) bool {
		_, said := w.ends[t.ID]
		return w.fateOf(t) == fateLate && !said
	})
}

// count returns how many messages a filter matches, or -1 where that can't be found out now.
func (w *world) count(stream, filter string) int {
	s, err := w.js.Stream(w.ctx, stream)
	if err != nil {
		return -1
	}
	info, err := s.Info(w.ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return -1
	}
	total := 0
	for _, n := range info.State.Subjects {
		total += int(n)
	}
	return total
}

// crossed reports whether two messages were on their way at the same time on a replicated stream. A server that has proposed
// one of them, but not stored it yet, takes a guard with another filter for met (nats-server 2.15, read in its source, and
// recorded once). Guards with the same filter are not concerned: completions, intents and records.
func (a *audit) crossed(progress, completion message) bool {
	return a.w.copies > 1 && progress.Time.Sub(completion.Time) < time.Second
}

// message is one that is stored.
type message struct {
	*bus.Message
	parsed events.Parsed
}

// audit is the comparison of what was asked for with what there is in the end.
type audit struct {
	w       *world
	clients map[string]*kling.Client // by account
	stored  map[string][]message     // of events and dead letters, by token
	tasks   map[string][]klingtest.TaskView
	wrong   map[string][]string // what is wrong, by token
	total   totals
}

// audit fails the test unless every promise was kept.
func (w *world) audit() {
	w.t.Helper()
	a, err := w.newAudit()
	if err != nil {
		w.fatalf("read what is stored: %v", err)
	}
	a.clients = w.klingClients()
	for token, asked := range w.asked {
		a.request(token, asked)
	}
	a.strangers()
	a.subscriber()
	a.answers()
	for _, v := range w.violations() {
		if !strings.HasSuffix(v, cutShort) && !strings.HasSuffix(v, askedTwice) {
			w.t.Errorf("Kling would not like: %s", v)
		}
	}
	a.report()
}

// newAudit takes in what is stored and what is at Kling.
func (w *world) newAudit() (*audit, error) {
	a := &audit{
		w: w, stored: map[string][]message{}, tasks: map[string][]klingtest.TaskView{}, wrong: map[string][]string{},
	}
	for _, t := range w.tasks() {
		a.tasks[tokenOf(t)] = append(a.tasks[tokenOf(t)], t)
	}
	return a, errors.Join(a.read(w.subjects.EventsStream()), a.read(w.subjects.DeadStream()))
}

func (w *world) klingClients() map[string]*kling.Client {
	w.t.Helper()
	clients := map[string]*kling.Client{}
	open := func(account, url, key string) {
		c, err := kling.NewClient(kling.Options{BaseURL: url, Credentials: kling.Credentials{APIKey: key}})
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(c.Close)
		clients[account] = c
	}
	for _, a := range w.accounts {
		open(a.name, a.URL, keyOf(a.name))
	}
	if len(w.accounts) == 0 {
		open(kling.DefaultAccount, w.sim.URL, apiKey)
	}
	return clients
}

// violations are those of all accounts.
func (w *world) violations() (all []string) {
	for _, a := range w.accounts {
		all = append(all, a.Violations()...)
	}
	if len(w.accounts) == 0 {
		all = w.sim.Violations()
	}
	return all
}

// read takes in a whole stream.
func (a *audit) read(stream string) error {
	messages, err := a.w.stored(stream)
	for _, m := range messages {
		a.stored[m.parsed.Token] = append(a.stored[m.parsed.Token], m)
	}
	return err
}

// stored returns a whole stream, one message after the other as its leader knows it.
func (w *world) stored(stream string) (all []message, err error) {
	for seq := uint64(1); ; seq++ {
		m, err := w.bus.Next(w.ctx, stream, ">", seq)
		if errors.Is(err, bus.ErrNoMessage) {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		seq = m.Seq
		if strings.HasPrefix(m.Subject, w.subjects.Probe("")) {
			continue // of a replica that was killed before it removed it
		}
		parsed, _ := w.subjects.Parse(m.Subject)
		all = append(all, message{m, parsed.Parsed})
	}
}

func (a *audit) fault(token, format string, args ...any) {
	a.wrong[token] = append(a.wrong[token], fmt.Sprintf(format, args...))
}

func (a *audit) ofType(token string, typ events.Type) []message {
	var found []message
	for _, m := range a.stored[token] {
		if m.parsed.Type == typ {
			found = append(found, m)
		}
	}
	return found
}

// request holds one request to the promises.
func (a *audit) request(token string, asked asked) {
	wantTasks, wantDead := 1, 0
	if len(a.w.accounts) > 0 {
		wantTasks = min(asked.fate.failures(), retries) + 1
	}
	if asked.ends() == events.StatusRejected {
		wantTasks, wantDead = 0, 1
	}
	if n := len(a.tasks[token]); n != wantTasks {
		a.fault(token, "%d tasks at Kling, want %d", n, wantTasks)
	}
	if n := len(a.ofType(token, "dead")); n != wantDead {
		a.fault(token, "%d dead letters, want %d", n, wantDead)
	}
	known := map[told]bool{}
	for _, m := range a.stored[token] {
		is := told{m.Subject, m.Header.Get(jetstream.MsgIDHeader)}
		if known[is] {
			a.fault(token, "%s is stored twice", m.Subject)
		}
		known[is] = true
	}
	completions := a.ofType(token, events.TypeCompletion)
	if len(completions) != 1 {
		a.fault(token, "%d completions, want 1", len(completions))
		return
	}
	for _, m := range a.ofType(token, events.TypeProgress) {
		if m.Seq > completions[0].Seq && !a.crossed(m, completions[0]) {
			a.fault(token, "%s was stored after the completion", m.Subject)
		}
	}
	if err := a.completion(token, asked, completions[0]); err != nil {
		a.fault(token, "completion: %v", err)
	}
}

// completion compares a completion with its request and its task.
func (a *audit) completion(token string, asked asked, m message) error {
	var ev events.Event
	if err := json.Unmarshal(m.Data, &ev); err != nil {
		return err
	}
	a.total.count(ev)
	switch {
	case ev.RequestID != asked.ID || ev.Kind != asked.Kind:
		return fmt.Errorf("is of %s %q", ev.Kind, ev.RequestID)
	case ev.Status != asked.ends() || m.parsed.Status != ev.Status:
		return fmt.Errorf("status %s, want %s", ev.Status, asked.ends())
	case ev.Metadata["Order"] != asked.ID:
		return fmt.Errorf("metadata %v", ev.Metadata)
	case ev.Status == events.StatusRejected || len(a.tasks[token]) == 0:
		return nil
	}
	if err := a.tries(token, ev, a.tasks[token]); len(a.w.accounts) > 0 && err != nil {
		return err
	}
	task := a.tasks[token][len(a.tasks[token])-1]
	if ev.TaskID != task.ID || ev.ExternalTaskID != task.ExternalID {
		return fmt.Errorf("task %s (%s), want %s (%s)", ev.TaskID, ev.ExternalTaskID, task.ID, task.ExternalID)
	}
	if account := a.accountOf(task); ev.Account != account {
		return fmt.Errorf("account %q, want %q", ev.Account, account)
	}
	made, err := a.clientOf(task).QueryExternal(a.w.ctx, task.Kind, task.ExternalID)
	if err != nil {
		return err
	}
	if got, want := urlsOf(ev.Result), urlsAt(made); !slices.Equal(got, want) {
		return fmt.Errorf("results %q, want %q", got, want)
	}
	return nil
}

func urlsOf(r *events.Result) (urls []string) {
	if r == nil {
		return nil
	}
	for _, v := range r.Videos {
		urls = append(urls, v.URL)
	}
	for _, i := range r.Images {
		urls = append(urls, i.URL)
	}
	for _, f := range r.Files {
		urls = append(urls, f.URL)
	}
	return urls
}

func urlsAt(t kling.Task) (urls []string) {
	for _, v := range t.Videos {
		urls = append(urls, v.URL)
	}
	for _, i := range t.Images {
		urls = append(urls, i.URL)
	}
	for _, f := range t.Files {
		urls = append(urls, f.URL)
	}
	return urls
}

// strangers finds what nobody has asked for.
func (a *audit) strangers() {
	for token, messages := range a.stored {
		if _, ok := a.w.asked[token]; !ok {
			a.fault(token, "%d messages about a request that nobody made", len(messages))
		}
	}
	for token, tasks := range a.tasks {
		if _, ok := a.w.asked[token]; !ok {
			a.fault(token, "%d tasks that nobody asked for", len(tasks))
		}
	}
}

// subscriber compares what a plain subscriber saw with what is stored.
func (a *audit) subscriber() {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	for is, n := range a.w.seen {
		parsed, _ := a.w.subjects.Parse(is.subject)
		if n > 1 {
			a.fault(parsed.Token, "a plain subscriber saw %s %d times", is.subject, n)
		}
		if !slices.ContainsFunc(a.stored[parsed.Token], func(m message) bool { return m.Subject == is.subject }) {
			a.fault(parsed.Token, "a plain subscriber saw %s, which is not stored", is.subject)
		}
	}
}

// answers looks at how callbacks were answered.
func (a *audit) answers() {
	for _, answer := range a.w.phone.answered() {
		if answer.took > answerTime {
			a.w.t.Errorf("a callback was answered %d only after %s", answer.status, answer.took)
		}
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	for _, id := range a.w.unstored {
		a.fault(events.Token(id), "a callback was answered 2xx before its event was stored")
	}
}
