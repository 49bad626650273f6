package bridge_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// TestRequestStaysUntilAllIsStored has the server take everything that a task brings with it but one: the event or the
// request as it came, which are published beside each other.
func TestRequestStaysUntilAllIsStored(t *testing.T) {
	t.Parallel()
	s := subjects.Default()
	for name, missing := range map[string]string{
		"the event":              s.Put("kling.progress.>"),
		"the request as it came": s.Put(s.OriginalOf("*")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			allow := func(permissions string) string {
				return `jetstream: {}
				authorization: {users: [{user: a, password: a, permissions: {` + permissions + `}}]}`
			}
			srv := bustest.Start(t, bustest.Config(t, allow(`publish: {deny: "`+missing+`"}`)))
			w := start(t, setup{natsURL: strings.Replace(srv.URL(), "nats://", "nats://a:a@", 1)})
			w.submit("order-42", "a")
			w.await("order-42")
			if n := w.count(s.RequestsStream(), s.AllRequests()); n != 1 {
				t.Errorf("%d requests are left before %s is stored", n, name)
			}
			srv.Reload(bustest.Config(t, allow(`publish: ">"`)))
			w.settledDown()
			w.asked("order-42", events.StatusSucceed, `{"prompt":"a"}`)
			if n := w.count(s.EventsStream(), s.OriginalOf("order-42")); n != 1 {
				t.Errorf("the request was kept %d times", n)
			}
		})
	}
}

// TestRequestIsKeptOnce breaks the connection after the server has the original and before the bridge hears so.
func TestRequestIsKeptOnce(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	l := newLink(t, strings.TrimPrefix(srv.URL(), "nats://"))
	t.Cleanup(l.close)
	later := klingtest.Options{SubmittedFor: 20 * time.Millisecond, Duration: time.Second} // than the connection stands again
	w := start(t, setup{natsURL: srv.URL(), replicas: 1, sim: later})
	w.replicas[0].stop()
	broken := make(chan struct{})
	l.breakAtNth(regexp.MustCompile(`PUB kling-put\.kling-state\.original\.`), 1, func() { close(broken) })
	w.urls = l.url()
	w.startBridge(setup{})
	w.submit("order-42", "a")
	<-broken
	w.await("order-42")
	w.settledDown()
	w.asked("order-42", events.StatusSucceed, `{"prompt":"a"}`)
	s := subjects.Default()
	if n := w.count(s.EventsStream(), s.OriginalOf("order-42")); n != 1 {
		t.Errorf("the request was kept %d times", n)
	}
}
