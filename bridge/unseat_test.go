package bridge_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/events"
)

// TestNextTryLeavesItsAccount keeps the event from the bridge by which it learns that Kling has failed a task, as on a reconnect,
// so that the task seems to hold a slot still. Its kind pauses on the account meanwhile: the next try goes to the other one.
func TestNextTryLeavesItsAccount(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t, bustest.Config(t, `jetstream: {}
	authorization: {users: [{user: a, password: a, permissions: {subscribe: {deny: "kling.progress.text2video.retrying.*"}}}]}`))
	one, two := openAccount(t, "one", 5, silent()), openAccount(t, "two", 5, klingtest.Options{})
	o := on(t, one, two)
	o.ProbeInterval = time.Hour
	w := start(t, setup{natsURL: strings.Replace(srv.URL(), "nats://", "nats://a:a@", 1), bridge: o})
	msg := w.message("again", "a")
	msg.Header.Set(events.HeaderRetries, "1")
	msg.Header.Set(events.HeaderTimeout, "20s") // less than until slots are counted anew
	if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
		t.Fatal(err)
	}
	w.untilStatus("again", events.StatusSubmitted)
	task := one.Tasks()[0]
	one.SetRetired("text2video", klingtest.HTML404)
	w.submitTo("one", "other")
	w.eventually("its kind pauses", func() bool {
		status, err := w.client.Status(w.ctx)
		return err == nil && strings.Contains(fmt.Sprint(status), "kind text2video")
	})
	if got := w.post(task.CallbackURL, v1Body(task, "failed")); got != http.StatusOK {
		t.Fatalf("the failed task is answered %d", got)
	}
	if ev := w.await("again"); ev.Status != events.StatusSucceed || ev.Account != "two" || len(ev.Tries) != 1 {
		t.Errorf("it ended %s on %q after %+v", ev.Status, ev.Account, ev.Tries)
	}
}
