package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// harness is the NATS server that all stories share. Each is played under a subject prefix of its own.
type harness struct {
	t      *testing.T
	server string // host:port
	bus    *bus.Bus

	mu     sync.Mutex
	played int
}

func newHarness(t *testing.T) *harness {
	t.Helper()
	server := bustest.Start(t)
	b, err := bus.Open(t.Context(), bus.Options{URL: server.URL(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return &harness{t: t, server: strings.TrimPrefix(server.URL(), "nats://"), bus: b}
}

// system is what one story is played on: replicas of the bridge, a Kling that does as the requests' wishes say, and a
// record of all that happens.
type system struct {
	*harness
	ctx      context.Context
	subjects subjects.Subjects
	accounts []*modelAccount
	began    time.Time
	edges    int         // that were put before Kling
	bounded  atomic.Bool // by an operator: a replica that starts meanwhile ends

	mu       sync.Mutex // guards what follows
	replicas []*replica // all that were ever started
	alive    []*replica
	requests map[string]*asked
	calls    map[string]int    // create calls, by external id
	sent     map[taskKey]int   // those that may have made a task
	answered map[taskKey]int   // queries with an answer
	blind    map[taskKey]int   // queries that are still to fail
	excused  map[taskKey]bool  // what the create call under way makes is disguised as a refusal
	purged   map[string]string // what an operator has deleted of requests
	endings  map[string]int    // callbacks of the end that were made or lost, by task id
	told     []string          // the story as it happened
	broken   []breach
}

// asked is one request id and every message that bore it.
type asked struct {
	id       string
	messages []message
}

type message struct {
	wish wish
	data []byte
}

// replica is one running bridge.
type replica struct {
	name      string
	link      *link
	callbacks string // host:port
	readyURL  string
	cancel    context.CancelFunc
	done      chan struct{}
}

// callbackHost is a name that the system resolves to a replica that runs.
const callbackHost = "http://bridge.localhost"

// newSystem sets a story up: everything but the replicas.
func (th *harness) newSystem(st story) (*system, error) {
	th.mu.Lock()
	th.played++
	subjects, err := subjects.New(fmt.Sprintf("model%d", th.played))
	th.mu.Unlock()
	s := &system{
		harness: th, ctx: th.t.Context(), subjects: subjects, began: time.Now(),
		requests: map[string]*asked{}, calls: map[string]int{}, sent: map[taskKey]int{}, answered: map[taskKey]int{},
		blind: map[taskKey]int{}, excused: map[taskKey]bool{}, purged: map[string]string{}, endings: map[string]int{},
	}
	for i := range st.accounts {
		err = errors.Join(err, s.openAccount(i, st))
	}
	return s, err
}

// close ends what a story has left.
func (s *system) close() {
	s.closeAccounts() // first, as they let go of the calls that hang
	for _, r := range s.replicas {
		s.kill(r)
		<-r.done
	}
	for _, a := range s.accounts {
		a.api.Close()
		a.client.Close()
	}
	for _, stream := range []string{
		s.subjects.RequestsStream(), s.subjects.EventsStream(), s.subjects.DeadStream(), s.subjects.SettingsStream(),
	} {
		_ = s.bus.JetStream().DeleteStream(s.ctx, stream) // the server's directory goes with the test
	}
}

// tell adds a line to the story.
func (s *system) tell(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, fmt.Sprintf("%5d ms  ", time.Since(s.began).Milliseconds())+fmt.Sprintf(format, args...))
}

// Write takes the replicas' logs in.
func (s *system) Write(line []byte) (int, error) {
	s.tell("    %s", strings.TrimSpace(string(line)))
	return len(line), nil
}

// startReplica runs one more bridge on a machine whose clock is ahead of the NATS server's. It may not be ready yet.
func (s *system) startReplica(ahead time.Duration) {
	s.mu.Lock()
	r := &replica{name: string(rune('A' + len(s.replicas))), link: newLink(s.t, s.server), done: make(chan struct{})}
	s.mu.Unlock()
	callbacks, admin := listenLocal(s.t), listenLocal(s.t)
	r.callbacks, r.readyURL = callbacks.Addr().String(), "http://"+admin.Addr().String()+"/readyz"
	b, err := bridge.New(bridge.Options{
		Bus: bus.Options{URL: r.link.url(), Now: func() time.Time { return time.Now().Add(ahead) }}, Accounts: s.configured(), Subjects: s.subjects,
		CallbackListener: callbacks, AdminListener: admin, PublicURL: callbackHost,
		LookupWindow: 700 * time.Millisecond, ProbeInterval: 50 * time.Millisecond,
		PollAfter: 200 * time.Millisecond, PollMinInterval: 100 * time.Millisecond, PollMaxInterval: 400 * time.Millisecond,
		AckWait: 500 * time.Millisecond, ShutdownTimeout: time.Millisecond, ReconcileInterval: 2 * time.Second,
		Logger: slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{ReplaceAttr: withoutTime})).
			With(slog.String("replica", r.name)),
		TracerProvider: noop.NewTracerProvider(),
	})
	if err != nil {
		s.violate(aSoundTest, "replica %s: %v", r.name, err)
		return
	}
	ctx, cancel := context.WithCancel(s.ctx)
	r.cancel = cancel
	s.mu.Lock()
	s.replicas, s.alive = append(s.replicas, r), append(s.alive, r)
	s.mu.Unlock()
	go func() {
		defer close(r.done)
		err := b.Run(ctx)
		if _, conflict := errors.AsType[*bus.ConflictError](err); conflict && s.bounded.Load() && s.bury(r) {
			s.tell("  replica %s does not start: %v", r.name, err)
		} else if err != nil {
			s.violate(anyMayDie, "replica %s ended with %v", r.name, err)
		}
		r.link.close()
	}()
}

func withoutTime(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

// running returns the replicas that run, the newest last.
func (s *system) running() []*replica {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.alive)
}

// ready reports whether the first replica is.
func (s *system) ready() bool {
	status, _ := get(s.t, s.replicas[0].readyURL)
	return status == http.StatusOK
}

// bury takes a replica out of the running ones. It reports whether it was one.
func (s *system) bury(r *replica) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.alive)
	s.alive = slices.DeleteFunc(s.alive, func(other *replica) bool { return other == r })
	return len(s.alive) < before
}

// kill makes a replica lose NATS in the middle of whatever it says, and end.
func (s *system) kill(r *replica) {
	r.link.cut()
	if s.bury(r) {
		s.tell("  replica %s is dead", r.name)
		r.cancel()
	}
}

// stop ends a replica that can still reach NATS but has no time to finish what it has in hand.
func (s *system) stop(r *replica) {
	if s.bury(r) {
		r.cancel()
		<-r.done
		s.tell("  replica %s has stopped", r.name)
	}
}

// RoundTrip delivers a callback to the replica that was started last.
func (s *system) RoundTrip(req *http.Request) (*http.Response, error) {
	running := s.running()
	if len(running) == 0 {
		return nil, errors.New("no replica runs")
	}
	req = req.Clone(req.Context())
	req.URL.Host = running[len(running)-1].callbacks
	return noRedirects.Transport.RoundTrip(req)
}

// callBack sends a callback and returns the status of its answer, zero when there was none.
func (s *system) callBack(target, body string) int {
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, target, strings.NewReader(body))
	if err != nil {
		s.violate(aSoundTest, "callback: %v", err)
		return 0
	}
	resp, err := s.RoundTrip(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// submit publishes a message of a request id, known or not, and waits for the stream's ack.
func (s *system) submit(id string, w wish) {
	token := events.Token(id)
	s.mu.Lock()
	r := s.requests[token]
	if r == nil {
		r = &asked{id: id}
		s.requests[token] = r
	}
	n := len(r.messages) + 1
	switch {
	case n > 1 && s.purged[token] == everything:
		w = r.messages[0].wish
	case n > 1:
		w = w.repeating(r.messages[0].wish)
	}
	msg := nats.NewMsg(s.subjects.Request(w.kind, w.priority))
	msg.Data = body(w.fields(promptOf(token, n, w.end)))
	r.messages = append(r.messages, message{wish: w, data: msg.Data})
	s.mu.Unlock()

	msg.Header.Set(events.HeaderRequestID, id)
	msg.Header.Set(events.HeaderMetaPrefix+metaMessage, fmt.Sprint(n))
	if w.retries > 0 {
		msg.Header.Set(events.HeaderRetries, strconv.Itoa(w.retries))
	}
	if w.hurried {
		msg.Header.Set(events.HeaderTimeout, hurry.String())
	}
	if _, err := s.bus.JetStream().PublishMsg(s.ctx, msg); err != nil {
		s.violate(aSoundTest, "publish a request: %v", err)
	}
}

// metaMessage is the metadata that tells which message of its id a request is.
const metaMessage = "Message"

// promptOf makes a task that ends as it is wished, and tells to whom it belongs.
func promptOf(token string, n int, end string) string {
	prompt := fmt.Sprintf("%s %d", token, n)
	switch end {
	case fails:
		prompt += " fail: no luck"
	case failsFirst:
		prompt += failsFirstMark
	case refused:
		prompt += " [policy]"
	}
	return prompt
}

// fields is the body of a wish, without what tells its way through the bridge.
func (w wish) fields(prompt string) map[string]any {
	switch w.kind {
	case kindV1:
		return map[string]any{"prompt": prompt, "model_name": w.model}
	case kindV2:
		return map[string]any{"prompt": prompt, "model": w.model}
	case kindSolution:
		return map[string]any{"contents": []map[string]string{
			{"type": "video", "url": "https://example.com/a.mp4"}, {"type": "prompt", "text": prompt},
		}}
	default:
		return map[string]any{"prompt": prompt}
	}
}

// numberOf returns the request and the number of the message that made a task, or zero.
func numberOf(v klingtest.TaskView) (token string, n int) {
	if _, err := fmt.Sscanf(v.Prompt, "%s %d", &token, &n); err != nil {
		return "", 0
	}
	return token, n
}

// messageOf returns the message that made a task.
func (s *system) messageOf(v klingtest.TaskView) message {
	token, n := numberOf(v)
	if n == 0 {
		return message{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests[token].messages[n-1]
}

// tokenOf reads the request from the callback URL of a task.
func tokenOf(v klingtest.TaskView) string {
	parts := strings.Split(v.CallbackURL, "/")
	return parts[len(parts)-2]
}

// mend ends every outage.
func (s *system) mend() {
	for _, a := range s.accounts {
		a.sim.SetAuthOutage(0)
		a.sim.SetMaintenance(false)
		a.sim.SetEdge(nil)
		a.sim.SetRetired(kindV1, nil)
	}
	for _, r := range s.running() {
		r.link.setDown(false)
	}
}

// has reports whether the events stream has a message on one of the subject filters.
func (s *system) has(filters ...string) bool {
	found := false
	for _, filter := range filters {
		if err := s.bus.Subjects(s.ctx, s.subjects.EventsStream(), filter, func(string) { found = true }); err != nil {
			s.violate(aSoundTest, "%v", err)
		}
	}
	return found
}
