package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// firstCreate meets a fault, later ones of the same request do not.
func firstCreate(fault klingtest.Fault) klingtest.Faults {
	return klingtest.Faults{Create: func(v klingtest.CreateView) klingtest.Fault {
		if v.Seen == 0 {
			return fault
		}
		return nil
	}}
}

// TestUnknownOutcomes loses the answer to a create call in every known way, in both API generations.
func TestUnknownOutcomes(t *testing.T) {
	t.Parallel()
	for _, fault := range []klingtest.Effect{
		klingtest.ResetAfterStore, klingtest.Gateway504AfterStore, klingtest.TruncateAfterStore, klingtest.HangAfterStore,
		klingtest.Error500AfterStore, klingtest.ResetBeforeStore, klingtest.Error500NoTask, klingtest.Error503NoTask,
		klingtest.HTML502NoTask,
	} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			w := start(t, setup{
				sim: klingtest.Options{Faults: firstCreate(fault)}, bridge: bridge.Options{LookupWindow: 700 * time.Millisecond},
			})
			for kind, id := range map[string]string{"text2video": "v1", "text-to-video": "v2"} {
				w.request(testRequest{Kind: kind, ID: id, Body: body(coreBodies[kind])})
			}
			for _, id := range []string{"v1", "v2"} {
				if ev := w.await(id); ev.Status != events.StatusSucceed {
					t.Errorf("%s: %+v", id, ev)
				}
			}
			w.settledDown()
			if n := len(w.sim.Tasks()); n != 2 {
				t.Errorf("%d tasks for 2 requests", n)
			}
		})
	}
}

// TestTaskThatCannotBeQueriedYet loses the answer and then hides the task for longer than the lookup window: the call is
// sent again, Kling refuses the external id it has seen, and the task is adopted.
func TestTaskThatCannotBeQueriedYet(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{
			Faults: firstCreate(klingtest.ResetAfterStore), QueryLag: 1500 * time.Millisecond,
			SubmittedFor: time.Second, Duration: 3 * time.Second,
		},
		bridge: bridge.Options{LookupWindow: time.Second},
	})
	if ev := w.await(w.submit("lag", "a")); ev.Status != events.StatusSucceed {
		t.Errorf("got %+v", ev)
	}
	calls := w.sim.Calls()
	if len(w.sim.Tasks()) != 1 || calls.Creates != 2 || calls.RefusedCreates[1201] != 1 {
		t.Errorf("%d tasks, %d creates, refused %v; want one task that a second create found", len(w.sim.Tasks()), calls.Creates, calls.RefusedCreates)
	}
}

// TestRefusedAfterUnknownOutcome sends again what was answered 500, and learns that it was wrong all along.
func TestRefusedAfterUnknownOutcome(t *testing.T) {
	t.Parallel()
	w := start(t, setup{
		sim: klingtest.Options{Faults: klingtest.Faults{Create: func(v klingtest.CreateView) klingtest.Fault {
			if v.Seen == 0 {
				return klingtest.Error500NoTask
			}
			return klingtest.Answer{Code: 1201, Message: "mode value 'x' is invalid"}
		}}},
		bridge: bridge.Options{LookupWindow: 500 * time.Millisecond},
	})
	ev := w.await(w.submit("wrong", "a"))
	if ev.Status != events.StatusRejected || ev.Error.Code != 1201 {
		t.Errorf("got %+v", ev)
	}
	w.settledDown()
}

// TestExternalIDOfSomebodyElse asks for an external id that the account has used: nothing is adopted that is not ours.
func TestExternalIDOfSomebodyElse(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	request := func(id string) {
		w.request(testRequest{Kind: "text2video", ID: id, Body: body(map[string]any{"prompt": id, "external_task_id": "same"})})
	}
	request("first")
	if err := w.sim.WaitTasks(w.ctx, 1); err != nil {
		t.Fatal(err)
	}
	if got := w.sim.Tasks()[0].ExternalID; got != "same" {
		t.Errorf("the request's own external id became %q", got)
	}
	request("second")
	ev := w.await("second")
	if ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInvalid || !strings.Contains(ev.Error.Message, "that of request first") {
		t.Errorf("got %s, %+v", ev.Status, ev.Error)
	}
	w.request(testRequest{Kind: "text2video", ID: "named", Body: body(map[string]any{"prompt": "a", "external_task_id": "named"})})
	w.eventually("the next task is made", func() bool { return len(w.sim.Tasks()) == 2 })
	w.request(testRequest{Kind: "text2video", ID: "third", Body: body(map[string]any{"prompt": "a", "external_task_id": "named"})})
	if ev := w.await("third"); ev.Status != events.StatusRejected || !strings.Contains(ev.Error.Message, "that of request named") {
		t.Errorf("got %s, %+v", ev.Status, ev.Error)
	}
	if calls := w.sim.Calls(); len(w.sim.Tasks()) != 2 || calls.Creates != 2 {
		t.Errorf("%d tasks, %d creates", len(w.sim.Tasks()), calls.Creates)
	}
}

// TestExternalIDLeftBehind sends a request whose external id a rejected one brought along: it has made no task.
func TestExternalIDLeftBehind(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Faults: firstCreate(klingtest.Answer{Code: 1301})}})
	for i, id := range []string{"refused", "mended", "repeated"} {
		w.request(testRequest{Kind: "text2video", ID: id, Body: body(map[string]any{"prompt": id, "external_task_id": "same"})})
		want := []events.Status{events.StatusRejected, events.StatusSucceed, events.StatusRejected}[i]
		if ev := w.await(id); ev.Status != want {
			t.Errorf("%s: %s, %+v", id, ev.Status, ev.Error)
		}
	}
	if n := len(w.sim.Tasks()); n != 1 {
		t.Errorf("%d tasks", n)
	}
}

// TestTooFast is refused until it is slow enough; no request is lost to it.
func TestTooFast(t *testing.T) {
	t.Parallel()
	for _, fault := range []klingtest.Effect{klingtest.TooFast1302, klingtest.TooFastNoCode429} {
		t.Run(string(fault), func(t *testing.T) {
			t.Parallel()
			w := start(t, setup{sim: klingtest.Options{Faults: firstCreate(fault)}})
			if ev := w.await(w.submit("fast", "a")); ev.Status != events.StatusSucceed {
				t.Errorf("got %+v", ev)
			}
			w.settledDown()
		})
	}
}

// TestKlingIsAway has nobody listen where Kling should be.
func TestKlingIsAway(t *testing.T) {
	t.Parallel()
	w := &world{t: t, ctx: t.Context()}
	w.startSim(klingtest.Options{})
	client, err := kling.NewClient(kling.Options{
		BaseURL: "http://" + bustest.FreeAddr(t), Credentials: kling.Credentials{APIKey: apiKey},
	})
	if err != nil {
		t.Fatal(err)
	}
	w = start(t, setup{bridge: bridge.Options{Kling: client}})
	id := w.request(testRequest{
		Kind: "text2video", ID: "away", Timeout: 2 * time.Second, Body: body(map[string]any{"prompt": "a"}),
	})
	if ev := w.await(id); ev.Status != events.StatusExpired || ev.TaskID != "" || ev.SubmittedAt != nil {
		t.Errorf("got %+v", ev)
	}
	w.settledDown()
}

// TestOutages lets Kling refuse credentials or account for a while: nothing is rejected, readiness says why, and all
// complete afterwards without a restart.
func TestOutages(t *testing.T) {
	t.Parallel()
	for code, component := range map[int]string{1000: "kling", 1002: "kling", 1004: "kling", 1101: "kling", 1102: "pool:video", 1304: "kling"} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			const interval = 200 * time.Millisecond
			w := start(t, setup{sim: klingtest.Options{}, bridge: bridge.Options{ProbeInterval: interval}})
			admin := w.replicas[0].adminURL
			w.sim.SetAuthOutage(code)
			began := time.Now()
			for i := range 20 {
				w.submit(fmt.Sprintf("o-%d", i), "a")
			}
			w.eventually("readiness names "+component, func() bool { return notReady(t, admin, component) })
			w.eventually("it was probed a few times", func() bool { return w.sim.Calls().Refused[code] >= 4 })
			most := int(time.Since(began)/interval) + 2
			if n := w.sim.Calls().Refused[code]; n > most {
				t.Errorf("%d calls while paused, want one each %s, at most %d", n, interval, most)
			}
			w.sim.SetAuthOutage(0)
			for i := range 20 {
				if ev := w.await(fmt.Sprintf("o-%d", i)); ev.Status != events.StatusSucceed {
					t.Errorf("%s: %s", ev.RequestID, ev.Status)
				}
			}
			w.eventually("it is ready again", func() bool { status, _ := get(t, admin+"/readyz"); return status == http.StatusOK })
			if dead := w.count("KLING_DEAD", "kling.dead.>"); dead > 0 {
				t.Errorf("%d dead letters", dead)
			}
		})
	}
}

// TestWaitingRequestExpires fills the only slot and lets a request wait behind it past its deadline.
func TestWaitingRequestExpires(t *testing.T) {
	t.Parallel()
	o := silent()
	o.Slots = map[kling.Pool]int{kling.PoolVideo: 1}
	w := start(t, setup{sim: o})
	w.task("text2video", "holds")
	for i := range 8 {
		w.request(testRequest{
			Kind: "text2video", ID: fmt.Sprintf("waits-%d", i), Timeout: 2 * time.Second, Body: body(map[string]any{"prompt": "a"}),
			Metadata: map[string]string{"Tenant": "acme"},
		})
	}
	for i := range 8 {
		ctx := strings.Join([]string{"waits", fmt.Sprint(i)}, "-")
		w.eventually("request "+ctx+" has expired", func() bool { return w.count("KLING_EVENTS", "kling.completion.*.expired."+ctx) == 1 })
		if ev := w.await(ctx); ev.Metadata["Tenant"] != "acme" || ev.Error.Class != events.ErrorExpired {
			t.Errorf("got %+v", ev)
		}
	}
	w.eventually("the requests are gone", func() bool { return w.count("KLING_REQUESTS", ">") == 0 })
	if n := len(w.sim.Tasks()); n != 1 {
		t.Errorf("%d tasks, want only the one that holds the slot", n)
	}
}
