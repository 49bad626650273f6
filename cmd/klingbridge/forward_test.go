package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

// hook is an endpoint that answers as it is told to.
type hook struct {
	*httptest.Server
	got chan hooked
}

// hooked is a delivery, and when it came.
type hooked struct {
	header http.Header
	body   []byte
	event  events.Event
	at     time.Time
}

func startHook(t *testing.T, answer func(n int, ev events.Event, w http.ResponseWriter)) *hook {
	t.Helper()
	h := &hook{got: make(chan hooked, 100)}
	var mu sync.Mutex
	tries := map[string]int{}
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body) // a test that gets half of it fails by that
		d := hooked{header: r.Header, body: body, at: time.Now()}
		if err := json.Unmarshal(body, &d.event); err != nil || r.Method != http.MethodPost || r.URL.Path != "/hook" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		mu.Lock()
		tries[d.event.RequestID]++
		n := tries[d.event.RequestID]
		mu.Unlock()
		answer(n, d.event, w)
		h.got <- d
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) next(t *testing.T) hooked {
	t.Helper()
	select {
	case d := <-h.got:
		return d
	case <-time.After(patience):
		t.Fatal("nothing is delivered")
		return hooked{}
	}
}

// forwarder is a run of forward.
type forwarder struct {
	stdout, stderr terminal
	done           chan int
	stop           context.CancelFunc
}

func startForward(t *testing.T, environ map[string]string, args ...string) *forwarder {
	t.Helper()
	f := &forwarder{done: make(chan int, 1)}
	var ctx context.Context
	ctx, f.stop = context.WithCancel(context.Background())
	go func() {
		f.done <- run(ctx, append([]string{"forward"}, args...), environ, strings.NewReader(""), &f.stdout, &f.stderr)
	}()
	t.Cleanup(func() {
		f.stop()
		if f.done != nil {
			<-f.done
		}
	})
	f.stderr.until(t, "forwarding completions to ")
	return f
}

func (f *forwarder) end(t *testing.T, code int) {
	t.Helper()
	if got := <-f.done; got != code {
		t.Errorf("exit %d, want %d: %s", got, code, &f.stderr)
	}
	f.done = nil
}

func submitAll(t *testing.T, environ map[string]string, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if got := execute(t.Context(), environ, "", "submit", "text2video", "--prompt", "a", "--id", id, "--wait"); got.code != 0 {
			t.Fatalf("%+v", got)
		}
	}
}

const hookSecret = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// TestForward delivers to an endpoint with bad days, stops and goes on where it ended.
func TestForward(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	open(t, environ, "dev", "--task-time", "20ms", "--submitted-time", "5ms")
	elsewhere := startHook(t, func(int, events.Event, http.ResponseWriter) {})
	h := startHook(t, func(n int, ev events.Event, w http.ResponseWriter) {
		switch {
		case ev.RequestID == "moved" && n == 1:
			w.Header().Set("Location", elsewhere.URL+"/hook")
			w.WriteHeader(http.StatusTemporaryRedirect)
		case ev.RequestID == "away" && n < 3:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case ev.RequestID == "poison":
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	})
	environ["BRIDGE_FORWARD_SECRET"] = hookSecret
	webhook, err := kling.NewWebhook([]string{hookSecret})
	if err != nil {
		t.Fatal(err)
	}
	submitAll(t, environ, "before")
	args := []string{"--to", h.URL + "/hook", "--durable", "shop", "--since", "1h", "--tries", "2"}
	first := startForward(t, environ, args...)
	submitAll(t, environ, "moved", "away", "poison")
	ids := map[string]string{}
	delivered := map[string]int{}
	for range 1 + 2 + 3 + 2 {
		d := h.next(t)
		if err := webhook.Verify(d.header, d.body, time.Now()); err != nil {
			t.Error(err)
		}
		id := d.event.RequestID
		if earlier := ids[id]; earlier != "" && earlier != d.header.Get("webhook-id") {
			t.Errorf("%s is %s, then %s", id, earlier, d.header.Get("webhook-id"))
		}
		ids[id] = d.header.Get("webhook-id")
		delivered[id]++
	}
	if got := fmt.Sprint(delivered); got != "map[away:3 before:1 moved:2 poison:2]" || ids["before"] != "before.completion" {
		t.Errorf("tried %s, ids %v", got, ids)
	}
	first.stderr.until(t, "request poison is set aside: its succeed was refused 2 times, at last with HTTP 422")
	for _, id := range []string{"before", "moved", "away"} {
		first.stdout.until(t, id+"  HTTP 200")
	}
	first.stop()
	first.end(t, 0)
	if strings.Contains(first.stdout.String()+first.stderr.String(), "whsec_") {
		t.Error("the secret is printed")
	}
	if len(elsewhere.got) > 0 {
		t.Error("a redirect was followed")
	}

	submitAll(t, environ, "meanwhile")
	second := startForward(t, environ, args...)
	if d := h.next(t); d.event.RequestID != "meanwhile" {
		t.Errorf("the next run delivers %s", d.event.RequestID)
	}
	second.stdout.until(t, "meanwhile  HTTP 200")
	second.stop()
	second.end(t, 0)
}

// TestForwardIsNotWanted has an endpoint that is gone, and comes back: its event is kept.
func TestForwardIsNotWanted(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	open(t, environ, "dev", "--task-time", "20ms", "--submitted-time", "5ms")
	h := startHook(t, func(n int, _ events.Event, w http.ResponseWriter) {
		if n == 1 {
			w.WriteHeader(http.StatusGone)
		}
	})
	f := startForward(t, environ, "--to", h.URL+"/hook", "--durable", "shop", "--since", "1h")
	submitAll(t, environ, "a")
	f.end(t, 1)
	if !strings.Contains(f.stderr.String(), "410 Gone") {
		t.Errorf("%s", &f.stderr)
	}
	again := startForward(t, environ, "--to", h.URL+"/hook", "--durable", "shop")
	again.stdout.until(t, "a  HTTP 200")
	secrets := regexp.MustCompile(`(?m)^export BRIDGE_FORWARD_SECRET=(whsec_\S+)$`).FindStringSubmatch(again.stdout.String())
	if len(secrets) != 2 {
		t.Fatalf("no secret is printed: %s", &again.stdout)
	}
	webhook, err := kling.NewWebhook(secrets[1:])
	if err != nil {
		t.Fatal(err)
	}
	h.next(t)
	if d := h.next(t); webhook.Verify(d.header, d.body, time.Now()) != nil {
		t.Error("it is not signed with the secret that was printed")
	}
}

// TestForwardOutlivesRefusedCredentials takes its user away for a while.
func TestForwardOutlivesRefusedCredentials(t *testing.T) {
	t.Parallel()
	const users = `jetstream: {}
	accounts: {A: {jetstream: enabled, users: [{user: a, password: a}, {user: admin, password: admin}]}}`
	srv := bustest.Start(t, bustest.Config(t, users))
	nc, err := nats.Connect(srv.URL(), nats.UserInfo("admin", "admin"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBridge{t: t, url: srv.URL(), js: js}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KLING_EVENTS", Subjects: []string{"kling.completion.>"}}); err != nil {
		t.Fatal(err)
	}
	h := startHook(t, func(int, events.Event, http.ResponseWriter) {})
	environ := map[string]string{"NATS_URL": srv.URL(), "NATS_USER": "a", "NATS_PASSWORD": "a", "BRIDGE_FORWARD_SECRET": hookSecret}
	f := startForward(t, environ, "--to", h.URL+"/hook")
	eventually(t, "there is a consumer", func() bool {
		stream, err := js.Stream(t.Context(), "KLING_EVENTS")
		return err == nil && stream.CachedInfo().State.Consumers == 1
	})
	srv.Reload(bustest.Config(t, strings.ReplaceAll(users, "user: a,", "user: b,")))
	f.stderr.until(t, "authorization violation; trying again")
	srv.Reload(bustest.Config(t, users))
	b.complete(success("a", "https://example.com/a.mp4"))
	if d := h.next(t); d.event.RequestID != "a" {
		t.Errorf("delivered %s", d.event.RequestID)
	}
	f.stdout.until(t, "a  HTTP 200")
	f.stop()
	f.end(t, 0)
	if strings.Count(f.stderr.String(), "\n") != 2 {
		t.Errorf("want one line of it: %s", &f.stderr)
	}
}

// TestForwardLeavesOtherConsumersAlone: the bridge has a consumer of its own on that stream.
func TestForwardLeavesOtherConsumersAlone(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	if got := execute(t.Context(), environ, "", "forward", "--to", "http://127.0.0.1:1/"); got.code != 1 {
		t.Errorf("without a server: %+v", got)
	}
	open(t, environ, "dev")
	got := execute(t.Context(), environ, "", "forward", "--to", "http://127.0.0.1:1/", "--durable", "polls")
	if got.code != 2 || !strings.Contains(got.stderr, "not one of forward's") {
		t.Errorf("%+v", got)
	}
	if got := execute(t.Context(), environ, "", "forward", "--to", "http://user:secret@127.0.0.1:1/", "--durable", "polls"); strings.Contains(got.stderr, "secret@") {
		t.Errorf("%+v", got)
	}
}
