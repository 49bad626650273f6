package console_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

var names = subjects.Default()

// source knows the requests it is told of.
type source struct {
	mu    sync.Mutex
	tasks map[string]events.Task // by token
	again []events.AgainQuery    // that were asked for
}

type notFound struct{ error }

func (notFound) HTTPStatus() int { return http.StatusNotFound }

func (s *source) Get(_ context.Context, id string) (events.TaskAnswer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	task, ok := s.tasks[events.Token(id)]
	if !ok {
		return events.TaskAnswer{}, notFound{fmt.Errorf("nothing is known of %q", id)}
	}
	return events.TaskAnswer{Task: task}, nil
}

func (s *source) Status(context.Context) (events.BridgeStatus, error) {
	return events.BridgeStatus{Version: "test", Ready: true}, nil
}

func (s *source) List(context.Context, events.TaskQuery) (events.TaskList, error) {
	return events.TaskList{}, nil
}

func (s *source) Cancel(_ context.Context, id string) (events.Cancelled, error) {
	_, err := s.Get(context.Background(), id)
	return events.Cancelled{Cancelled: err == nil}, err
}

func (s *source) Body(_ context.Context, id string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if task := s.tasks[events.Token(id)]; task.Body != "" {
		return []byte(task.Body), nil
	}
	return nil, nil
}

func (s *source) Again(_ context.Context, q events.AgainQuery) (events.Replayed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = append(s.again, q)
	return events.Replayed{RequestID: q.RequestID + "-r1"}, nil
}

func (s *source) DeadList(context.Context, events.PageQuery) (events.DeadList, error) {
	return events.DeadList{}, nil
}

func (s *source) Replay(_ context.Context, id string) (events.Replayed, error) {
	return events.Replayed{RequestID: id + "-r1"}, nil
}

func (s *source) Dismiss(_ context.Context, id string) error {
	_, err := s.Get(context.Background(), id)
	return err
}

func (s *source) Submit(_ context.Context, _ string, _ json.RawMessage, o events.Options) (string, error) {
	return o.ID, nil
}

func (s *source) Kinds() []console.Kind {
	return []console.Kind{{Name: "text2video", Body: `{"prompt":"a"}`}}
}

func (s *source) Pauses() []console.Pause { return nil }

func (s *source) TokenOf(externalID string) (string, bool) {
	return strings.CutPrefix(externalID, "kns12345-")
}

// site is a console on an events stream of its own.
type site struct {
	t      *testing.T
	url    string
	source *source
	bus    *bus.Bus
	js     jetstream.JetStream
	stop   func() // ends Run and waits for it; it may be called twice
}

// open serves a console until the test ends.
func open(t *testing.T, o console.Options) *site {
	t.Helper()
	server := bustest.Start(t)
	b, err := bus.Open(t.Context(), bus.Options{URL: server.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	_, err = b.JetStream().CreateStream(t.Context(), jetstream.StreamConfig{
		Name:             names.EventsStream(),
		Subjects:         []string{names.Put(">")},
		SubjectTransform: &jetstream.SubjectTransformConfig{Source: names.Put(">"), Destination: ">"},
		AllowDirect:      true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return (&site{t: t, source: &source{tasks: map[string]events.Task{}}, bus: b, js: b.JetStream()}).replica(o)
}

// replica serves another console of the same stream.
func (s *site) replica(o console.Options) *site {
	s.t.Helper()
	o.Loopback = true
	o.Logger = slog.New(slog.DiscardHandler)
	c := console.New(o)
	another := &site{t: s.t, source: s.source, bus: s.bus, js: s.js}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.Run(ctx, another.source, another.bus, names)
	}()
	another.stop = func() {
		cancel()
		<-done
	}
	web := httptest.NewServer(c)
	another.url = web.URL
	s.t.Cleanup(func() {
		another.stop()
		web.Close()
	})
	another.untilRun(o.Token)
	return another
}

// untilRun waits until questions are answered.
func (s *site) untilRun(token string) {
	s.t.Helper()
	limit := time.After(patience)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		resp := send(s.t, http.MethodGet, s.url+"/api/dead", map[string]string{"Authorization": "Bearer " + token}, "")
		if resp.status == http.StatusOK {
			return
		}
		select {
		case <-limit:
			s.t.Fatalf("the console answers %d: %s", resp.status, resp.body)
		case <-tick.C:
		}
	}
}

// headersOnly is a completion as far as a search reads it.
func headersOnly(id, taskID, externalID string) *nats.Msg {
	return &nats.Msg{
		Subject: names.Put(names.Completion("text2video", events.StatusSucceed, events.Token(id))),
		Header: nats.Header{
			events.HeaderRequestID: {id}, events.HeaderTaskID: {taskID}, events.HeaderExternalTaskID: {externalID},
		},
		Data: []byte("{}"),
	}
}

// completion is a stored completion, as far as the console reads it.
func completion(id, taskID, externalID string, metadata map[string]string) *nats.Msg {
	now := events.At(time.Now())
	ev := events.Event{
		RequestID: id, Kind: "text2video", Status: events.StatusSucceed, Source: events.SourceCallback,
		TaskID: taskID, ExternalTaskID: externalID, Units: "0.5",
		RequestedAt: events.At(now.Add(-4 * time.Second)), CompletedAt: &now, PublishedAt: now, Metadata: metadata,
	}
	msg := headersOnly(id, taskID, externalID)
	msg.Header.Set(events.HeaderStatus, string(ev.Status))
	msg.Header.Set(events.HeaderSource, string(ev.Source))
	for name, value := range metadata {
		msg.Header.Set(events.HeaderMetaPrefix+name, value)
	}
	msg.Data, _ = json.Marshal(ev) // it has no part that could fail
	return msg
}

// store publishes completions, and tells the source of them.
func (s *site) store(msgs ...*nats.Msg) {
	s.t.Helper()
	for _, msg := range msgs {
		if _, err := s.js.PublishMsgAsync(msg); err != nil {
			s.t.Fatal(err)
		}
		id := msg.Header.Get(events.HeaderRequestID)
		s.source.mu.Lock()
		s.source.tasks[events.Token(id)] = events.Task{
			RequestID: id, Status: events.StatusSucceed, TaskID: msg.Header.Get(events.HeaderTaskID),
		}
		s.source.mu.Unlock()
	}
	select {
	case <-s.js.PublishAsyncComplete():
	case <-time.After(patience):
		s.t.Fatal("the stream does not take the events")
	}
}

// ask returns the answer to a GET, decoded.
func ask[A any](s *site, path string) A {
	s.t.Helper()
	got := send(s.t, http.MethodGet, s.url+path, nil, "")
	var answer A
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil || got.status != http.StatusOK {
		s.t.Fatalf("%s: status %d, %v: %s", path, got.status, err, got.body)
	}
	return answer
}

// reply is a response that was read to its end.
type reply struct {
	status  int
	header  http.Header
	cookies []*http.Cookie
	body    string
}

// send returns the reply to a request with these headers.
func send(t *testing.T, method, url string, header map[string]string, body string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	req.Host = header["Host"]
	for name, value := range header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply{resp.StatusCode, resp.Header, resp.Cookies(), string(data)}
}
