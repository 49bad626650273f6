package bridge_test

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/dispatch"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// simAccount is a simulated account, and what it is called.
type simAccount struct {
	*klingtest.Running
	name, secret string
}

// openAccount simulates an account with a key of its own and so many video slots.
func openAccount(t *testing.T, name string, slots int, o klingtest.Options) *simAccount {
	t.Helper()
	o.APIKeys = []string{"key-of-" + name}
	o.Slots = map[kling.Pool]int{kling.PoolVideo: slots}
	o.Seed = uint64(crc32.ChecksumIEEE([]byte(name))) // no two have the same task ids
	if o.Duration == 0 {
		o.SubmittedFor, o.Duration = 20*time.Millisecond, 60*time.Millisecond
	}
	return &simAccount{Running: klingtest.Start(t, o), name: name, secret: o.WebhookSecret}
}

// on configures a bridge with accounts.
func on(t *testing.T, accounts ...*simAccount) bridge.Options {
	t.Helper()
	o := bridge.Options{
		ProbeInterval: 200 * time.Millisecond, LookupWindow: 700 * time.Millisecond,
		PollAfter: time.Second, PollMinInterval: 300 * time.Millisecond, PollMaxInterval: time.Second,
	}
	for _, a := range accounts {
		client, err := kling.NewClient(kling.Options{
			BaseURL: a.URL, Credentials: kling.Credentials{APIKey: "key-of-" + a.name}, Timeout: 5 * time.Second,
			TracerProvider: noop.NewTracerProvider(),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		account := kling.Account{Name: a.name, Client: client}
		if a.secret != "" {
			if account.Webhook, err = kling.NewWebhook([]string{a.secret}); err != nil {
				t.Fatal(err)
			}
		}
		o.Accounts = append(o.Accounts, account)
	}
	return o
}

// submitTo publishes a request that demands an account.
func (w *world) submitTo(account, id string) { w.submitModelTo(account, id, plentiful) }

// submitModelTo is submitTo for a task of a model.
func (w *world) submitModelTo(account, id, model string) {
	w.t.Helper()
	msg := w.message(id, "a")
	msg.Data = body(map[string]any{"prompt": "a", "model_name": model})
	if account != "" {
		msg.Header["kling-account"] = []string{account} // names are taken in any case
	}
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		w.t.Fatal(err)
	}
}

// submitMany publishes so many requests.
func (w *world) submitMany(prefix string, n int) {
	w.t.Helper()
	for i := range n {
		w.submitTo("", fmt.Sprintf("%s-%d", prefix, i))
	}
}

// tasks waits until the accounts have so many tasks each.
func (w *world) haveTasks(what string, want map[*simAccount]int) {
	w.t.Helper()
	w.eventually(what, func() bool {
		for a, n := range want {
			if len(a.Tasks()) < n {
				return false
			}
		}
		return true
	})
	for a, n := range want {
		if got := len(a.Tasks()); got != n {
			w.t.Errorf("%s: %d tasks on %s, want %d", what, got, a.name, n)
		}
	}
}

// codeNoCredit is Kling's refusal of a task that the account can't pay for.
const codeNoCredit = 1102

// onceEach checks that no request has become a task twice, on whatever accounts.
func onceEach(t *testing.T, accounts ...*simAccount) (total int) {
	t.Helper()
	seen := map[string]string{}
	for _, a := range accounts {
		for _, task := range a.Tasks() {
			if other, twice := seen[task.ExternalID]; twice {
				t.Errorf("%s has a task on %s and on %s", task.ExternalID, other, a.name)
			}
			seen[task.ExternalID] = a.name
		}
		for _, v := range a.Violations() {
			t.Errorf("account %s would not like: %s", a.name, v)
		}
	}
	return len(seen)
}

// TestPreferredAccounts fills one account before the next is used. What is said of each task names its account.
func TestPreferredAccounts(t *testing.T) {
	t.Parallel()
	main, burst := openAccount(t, "main", 4, silent()), openAccount(t, "burst", 2, silent())
	w := start(t, setup{bridge: on(t, main, burst)})
	w.submitMany("first", 3)
	w.haveTasks("there is room on the first account", map[*simAccount]int{main: 3, burst: 0})
	w.submitMany("then", 6)
	w.haveTasks("the rest goes to the second", map[*simAccount]int{main: 4, burst: 2})
	for _, a := range []*simAccount{main, burst} {
		for _, task := range a.Tasks() {
			id := task.ExternalID[strings.IndexByte(task.ExternalID, '-')+1:]
			w.eventually("the task is announced", func() bool { return w.untilStatus(id, events.StatusSubmitted).Account == a.name })
			m := w.stored("KLING_EVENTS", "kling.progress.*.submitted."+id)[0]
			var ev events.Event
			if err := json.Unmarshal(m.Data, &ev); err != nil {
				t.Fatal(err)
			}
			if ev.Account != a.name || m.Header.Get(events.HeaderAccount) != a.name {
				t.Errorf("the event names %q and %q, want %s", ev.Account, m.Header.Get(events.HeaderAccount), a.name)
			}
		}
	}
	if err := burst.Finish(burst.Tasks()[0].ID); err != nil {
		t.Fatal(err)
	}
	w.haveTasks("a slot that frees is used on its account", map[*simAccount]int{main: 4, burst: 3})
	onceEach(t, main, burst)
}

// TestSpreadAccounts has each request go to the account with the most room.
func TestSpreadAccounts(t *testing.T) {
	t.Parallel()
	a, b := openAccount(t, "a", 9, silent()), openAccount(t, "b", 9, silent())
	o := on(t, a, b)
	o.AccountOrder = dispatch.OrderSpread
	w := start(t, setup{bridge: o})
	for i := range 8 {
		w.submitTo("", fmt.Sprint("r-", i))
		w.eventually("it is a task", func() bool { return len(a.Tasks())+len(b.Tasks()) == i+1 })
		w.untilStatus(fmt.Sprint("r-", i), events.StatusSubmitted)
	}
	w.haveTasks("half of them each", map[*simAccount]int{a: 4, b: 4})
}

// TestPinnedRequests go to their account, whatever room there is on others, and hold up nobody.
func TestPinnedRequests(t *testing.T) {
	t.Parallel()
	main, burst := openAccount(t, "main", 5, silent()), openAccount(t, "burst", 1, silent())
	w := start(t, setup{bridge: on(t, main, burst)})
	for i := range 80 { // more than a replica holds ready
		w.submitTo("burst", fmt.Sprint("pinned-", i))
	}
	w.submitMany("any", 3)
	w.haveTasks("both accounts are used", map[*simAccount]int{main: 3, burst: 1})
	if task := w.untilStatus("pinned-70", events.StatusWaiting); task.Account != "burst" ||
		task.WaitsFor != "a slot of pool video (1 of 1 taken) on account burst" {
		t.Errorf("waits for %q on %q", task.WaitsFor, task.Account)
	}
	w.submitTo("nobody", "lost")
	if ev := w.await("lost"); ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInvalid || ev.Account != "" ||
		!strings.Contains(ev.Error.Message, "nobody") || !strings.Contains(ev.Error.Message, "main, burst") {
		t.Errorf("got %+v, %v", ev, ev.Error)
	}
}

// TestAccountThatFailsIsPassedOver has credentials revoked and credit used up: others do the work, and readiness names the
// account. Only when none is left it is false.
func TestAccountThatFailsIsPassedOver(t *testing.T) {
	t.Parallel()
	poor := silent()
	poor.Credits = 2
	main, burst, last := openAccount(t, "main", 8, silent()), openAccount(t, "burst", 8, poor), openAccount(t, "last", 8, silent())
	w := start(t, setup{bridge: on(t, main, burst, last)})
	main.SetAuthOutage(1002)
	w.submitMany("r", 5)
	w.haveTasks("others do the work", map[*simAccount]int{main: 0, burst: 2, last: 3})
	ready := func() (bool, string) {
		status, body := get(t, w.replicas[0].adminURL+"/readyz")
		return status == http.StatusOK, body
	}
	if ok, body := ready(); !ok || !strings.Contains(body, "account main") || !strings.Contains(body, "account burst") {
		t.Errorf("ready: %v, %s", ok, body)
	}
	last.SetAuthOutage(1002)
	w.submitTo("", "waits")
	w.eventually("no account is left", func() bool { ok, body := ready(); return !ok && strings.Contains(body, "account last") })
	main.SetAuthOutage(0)
	w.eventually("an account is back", func() bool { ok, _ := ready(); return ok })
	w.haveTasks("nothing was rejected", map[*simAccount]int{main: 1, burst: 2, last: 3})
}

// TestUnknownOutcomeStaysWithItsAccount loses the answer of a create call. Whatever room the other account has, and though the
// first one can't even be asked for a while, the request waits for it.
func TestUnknownOutcomeStaysWithItsAccount(t *testing.T) {
	t.Parallel()
	o := silent()
	o.Faults = firstCreate(klingtest.Error500NoTask)
	main, burst := openAccount(t, "main", 5, o), openAccount(t, "burst", 5, silent())
	w := start(t, setup{bridge: on(t, main, burst)})
	w.submitTo("", "unknown")
	w.eventually("it was sent", func() bool { return main.Calls().Creates == 1 })
	main.SetAuthOutage(1002)
	w.submitMany("other", 2)
	w.haveTasks("others go on", map[*simAccount]int{main: 0, burst: 2})
	main.SetAuthOutage(0)
	w.haveTasks("it is sent again there", map[*simAccount]int{main: 1, burst: 2})
	if task := w.untilStatus("unknown", events.StatusSubmitted); task.Account != "main" {
		t.Errorf("it is on %q", task.Account)
	}
}

// TestForgedMixtures mixes URLs, secrets and tasks of two accounts in every way.
func TestForgedMixtures(t *testing.T) {
	t.Parallel()
	a, b := silent(), silent()
	a.WebhookSecret, b.WebhookSecret = "whsec_YWFhYWFhYWFhYWFh", "whsec_YmJiYmJiYmJiYmJi"
	one, two, open := openAccount(t, "one", 5, a), openAccount(t, "two", 5, b), openAccount(t, "open", 5, silent())
	o := on(t, one, two, open)
	o.Adopt = true
	w := start(t, setup{bridge: o})
	tasks := map[string]klingtest.TaskView{}
	for _, s := range []*simAccount{one, two, open} {
		w.submitTo(s.name, "of-"+s.name)
		w.eventually("it is a task", func() bool { return len(s.Tasks()) == 1 })
		w.untilStatus("of-"+s.name, events.StatusSubmitted)
		tasks[s.name] = s.Tasks()[0]
	}
	foreign := tasks["two"]
	foreign.ExternalID = "somebody-elses"
	for _, c := range []struct {
		name, url, body, signer string
		want                    int
	}{
		{"unsigned", tasks["one"].CallbackURL, v1Body(tasks["one"], "succeed"), "", 401},
		{"the other's secret", tasks["one"].CallbackURL, v1Body(tasks["one"], "succeed"), two.secret, 401},
		{"the other's secret, the other way", tasks["two"].CallbackURL, v1Body(tasks["two"], "succeed"), one.secret, 401},
		{"the other's task, signed by it", tasks["one"].CallbackURL, v1Body(tasks["two"], "succeed"), two.secret, 401},
		{"the other's task", tasks["one"].CallbackURL, v1Body(tasks["two"], "succeed"), one.secret, 409},
		{"a task of who has no secret", tasks["one"].CallbackURL, v1Body(tasks["open"], "succeed"), "", 401},
		{"adoption: known to the other", bare(tasks["one"].CallbackURL), v1Body(tasks["one"], "succeed"), two.secret, 200}, // it has a URL of its own
		{"adoption: no task of the signer's", bare(tasks["one"].CallbackURL), `{"task_id":"871000000000000900"}`, one.secret, 404},
		{"adoption: only unsigned accounts are asked", bare(tasks["one"].CallbackURL), v1Body(foreign, "succeed"), "", 404},
	} {
		var header http.Header
		if c.signer != "" {
			header = signed(t, c.signer, c.body)
		}
		if got := w.do(http.MethodPost, c.url, c.body, header).status; got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
	if n := w.count("KLING_EVENTS", "kling.completion.>"); n != 0 {
		t.Fatalf("%d completions of forged callbacks", n)
	}
	for _, s := range []*simAccount{one, two, open} {
		var header http.Header
		if s.secret != "" {
			header = signed(t, s.secret, v1Body(tasks[s.name], "succeed"))
		}
		if got := w.do(http.MethodPost, tasks[s.name].CallbackURL, v1Body(tasks[s.name], "succeed"), header).status; got != http.StatusOK {
			t.Errorf("%s: its own callback got %d", s.name, got)
		}
		if ev := w.await("of-" + s.name); ev.Status != events.StatusSucceed || ev.Account != s.name {
			t.Errorf("%s: %+v", s.name, ev)
		}
	}
	adopted := v1Body(foreign, "succeed")
	if got := w.do(http.MethodPost, bare(tasks["one"].CallbackURL), adopted, signed(t, two.secret, adopted)).status; got != http.StatusOK {
		t.Errorf("adoption: got %d", got)
	}
	if ev := w.await("somebody-elses"); ev.Account != "two" {
		t.Errorf("adopted on %q", ev.Account)
	}
	if got := w.do(http.MethodPost, bare(tasks["one"].CallbackURL), adopted, signed(t, one.secret, adopted)).status; got != http.StatusConflict {
		t.Errorf("adoption of another account's: got %d", got)
	}
}

// signed are the headers of a body signed now.
func signed(t *testing.T, secret, body string) http.Header {
	t.Helper()
	signer, err := kling.NewWebhook([]string{secret})
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	return http.Header{
		"Webhook-Id": {"msg-1"}, "Webhook-Timestamp": {fmt.Sprint(now.Unix())}, "Webhook-Signature": {signer.Sign("msg-1", now, []byte(body))},
	}
}

// TestAccountTakenOut starts a bridge without an account that has a task in flight: it is named, nothing is asked about its
// task, and it ends when the account is back.
func TestAccountTakenOut(t *testing.T) {
	t.Parallel()
	o := silent()
	o.Faults = firstCreate(klingtest.Error500NoTask)
	main, burst := openAccount(t, "main", 5, silent()), openAccount(t, "burst", 5, o)
	nats := bustest.Start(t)
	w := start(t, setup{bridge: on(t, main, burst), natsURL: nats.URL()})
	w.submitTo("burst", "unknown")
	w.eventually("it was sent", func() bool { return burst.Calls().Creates == 1 })
	w.replicas[0].stop()
	sent := burst.Calls()
	w.replicas = []*running{w.startBridge(setup{bridge: on(t, main)})}
	w.submitMany("r", 2)
	w.haveTasks("others go on", map[*simAccount]int{main: 2})
	w.eventually("the account is named", func() bool {
		status, body := get(t, w.replicas[0].adminURL+"/readyz")
		return status == http.StatusOK && strings.Contains(body, `"component":"account:burst"`)
	})
	status, err := w.client.Status(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(status.Pools[0].Accounts, func(a events.AccountStatus) bool { return a.Account == "burst" })
	if i < 0 || status.Pools[0].Accounts[i].InFlight != 1 {
		t.Errorf("accounts %+v", status.Pools[0].Accounts)
	}
	if now := burst.Calls(); now.Creates != sent.Creates || len(burst.Tasks()) != 0 {
		t.Errorf("%d creates on an account that is not configured", now.Creates)
	}
	w.replicas[0].stop()
	w.replicas = []*running{w.startBridge(setup{bridge: on(t, main, burst)})}
	w.haveTasks("the account is back", map[*simAccount]int{main: 2, burst: 1})
	if err := burst.Finish(burst.Tasks()[0].ID); err != nil {
		t.Fatal(err)
	}
	if ev := w.await("unknown"); ev.Status != events.StatusSucceed || ev.Account != "burst" {
		t.Errorf("got %+v", ev)
	}
}

// TestPageBeforeOneAccount has a page refuse a create call in an account's place, which has made the task or not. Another account
// gets the request only when the first one has denied the task.
func TestPageBeforeOneAccount(t *testing.T) {
	t.Parallel()
	for name, stored := range map[string]bool{"it has made the task": true, "it has not": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := silent()
			o.Faults.Create = func(klingtest.CreateView) klingtest.Fault {
				return klingtest.Page{HTTPStatus: http.StatusForbidden, Title: "Attention Required!", AfterStore: stored}
			}
			main, burst := openAccount(t, "main", 5, o), openAccount(t, "burst", 5, silent())
			w := start(t, setup{bridge: on(t, main, burst)})
			w.submitTo("", "order-1")
			w.eventually("it was sent", func() bool { return main.Calls().Creates == 1 })
			again := w.message("order-1", "b") // nothing is known of it but its record
			again.Header.Set("Nats-Msg-Id", "another")
			if _, err := w.js.PublishMsg(w.ctx, again); err != nil {
				t.Fatal(err)
			}
			want := map[bool]string{true: "main", false: "burst"}[stored]
			if task := w.untilStatus("order-1", events.StatusSubmitted); task.Account != want {
				t.Errorf("it is on %q, want %q", task.Account, want)
			}
			if n := onceEach(t, main, burst); n != 1 {
				t.Errorf("%d tasks", n)
			}
		})
	}
}

// TestBoundOfAllAccounts is shown beside those of each account: its series names none.
func TestBoundOfAllAccounts(t *testing.T) {
	t.Parallel()
	o := on(t, openAccount(t, "main", 4, silent()), openAccount(t, "burst", 2, silent()))
	o.Concurrency = map[kling.Pool]int{kling.PoolVideo: 5}
	o.Accounts[1].Concurrency = map[kling.Pool]int{kling.PoolVideo: 2}
	w := start(t, setup{bridge: metered(t, o)})
	w.counted(map[string]float64{
		`kling_slots_cap{pool="video"}`:                 5,
		`kling_slots_cap{account="burst",pool="video"}`: 2,
	})
}
