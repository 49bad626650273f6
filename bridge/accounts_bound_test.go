package bridge_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// losesUnknown is a silent Kling that answers the first create call of the request "unknown" with 500, and makes no task of it.
func losesUnknown() klingtest.Options {
	o := silent()
	o.Faults.Create = func(v klingtest.CreateView) klingtest.Fault {
		if v.Seen == 0 && strings.HasSuffix(v.ExternalID, "-unknown") {
			return klingtest.Error500NoTask
		}
		return nil
	}
	return o
}

// TestNoRoomAfterUnknownOutcome has the account full that a request may have a task on. It waits for a slot of that one, whatever
// room there is on the other: each try without a slot is a refusal.
func TestNoRoomAfterUnknownOutcome(t *testing.T) {
	t.Parallel()
	main, burst := openAccount(t, "main", 1, losesUnknown()), openAccount(t, "burst", 8, silent())
	w := start(t, setup{bridge: on(t, main, burst)})
	w.submitTo("", "first")
	w.haveTasks("the only slot is taken", map[*simAccount]int{main: 1})
	w.submitTo("", "unknown")
	refused := func() int { return main.Calls().RefusedCreates[codeNoCapacity] }
	w.eventually("it is sent again, and refused", func() bool { return refused() > 0 })
	for i := range 8 {
		w.submitTo("burst", fmt.Sprint("other-", i))
		w.haveTasks("others go on meanwhile", map[*simAccount]int{burst: i + 1})
	}
	if n := refused(); n > 5 { // a full pool is tried with one more, now and then
		t.Errorf("refused %d times", n)
	}
	if err := main.Finish(main.Tasks()[0].ID); err != nil {
		t.Fatal(err)
	}
	w.haveTasks("it gets the slot that frees", map[*simAccount]int{main: 2, burst: 8})
}

// TestTakenOverOnItsAccount has a replica take a request over that another one has sent unheard, and give it a slot of the account
// that is first in its own order. That slot is free again once the record has told which account may have the task.
func TestTakenOverOnItsAccount(t *testing.T) {
	t.Parallel()
	answer := make(chan struct{})
	release := sync.OnceFunc(func() { close(answer) })
	t.Cleanup(release)
	slow := silent()
	slow.Faults.Query = func(klingtest.QueryView) klingtest.Fault {
		<-answer
		return nil
	}
	main, burst := openAccount(t, "main", 5, slow), openAccount(t, "burst", 5, losesUnknown())
	nats := bustest.Start(t)
	replica := func(accounts ...*simAccount) setup {
		o := on(t, accounts...)
		o.LookupWindow = 5 * time.Minute // longer than the test
		for i := range o.Accounts {
			o.Accounts[i].Concurrency = map[kling.Pool]int{kling.PoolVideo: 1}
		}
		return setup{bridge: o, natsURL: nats.URL()}
	}
	w := start(t, replica(burst, main)) // makes the streams
	w.replicas[0].stop()
	w.submitTo("", "unknown")
	first := w.startBridge(replica(burst, main))
	w.eventually("it is asked for on the other account, as it was there before the replica", func() bool { return main.Calls().Queries > 0 })
	w.replicas = []*running{w.startBridge(replica(main, burst))}
	release()
	w.eventually("it is sent on the second account", func() bool { return burst.Calls().Creates == 1 })
	first.stop()
	w.eventually("the other replica has it", func() bool {
		status, err := w.client.Status(w.ctx)
		if err != nil {
			return false
		}
		accounts := status.Pools[0].Accounts
		return accounts[0].InFlight == 0 && accounts[1].InFlight == 1
	})
	w.submitTo("main", "other")
	w.haveTasks("the first account is free", map[*simAccount]int{main: 1, burst: 0})
}
