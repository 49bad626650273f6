package events_test

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// TestMain looks for goroutines that are left. The client library leaves one where an upload to an object store ends before
// the goroutine that watches its connection has begun (nats.go 1.55, read in its source).
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

const startTimeout = 2 * time.Minute

// natsServer is a NATS server in this process that listens nowhere. It may be stopped and started again.
type natsServer struct {
	opts server.Options

	mu  sync.Mutex // guards srv against reconnecting clients
	srv *server.Server
}

func (s *natsServer) start() error {
	srv, err := server.NewServer(s.opts.Clone())
	if err != nil {
		return err
	}
	srv.Start()
	if !srv.ReadyForConnections(startTimeout) {
		return errors.New("the NATS server is not ready")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv = srv
	return nil
}

func (s *natsServer) stop() {
	s.mu.Lock()
	srv := s.srv
	s.srv = nil
	s.mu.Unlock()
	if srv != nil {
		srv.Shutdown()
		srv.WaitForShutdown()
	}
}

// InProcessConn is how clients connect.
func (s *natsServer) InProcessConn() (net.Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.srv == nil {
		return nil, errors.New("the NATS server is stopped")
	}
	return s.srv.InProcessConn()
}

func (s *natsServer) connect(opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append([]nats.Option{
		nats.InProcessServer(s), nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond),
	}, opts...)...)
}

// createStreams creates the streams as the bridge does, but that anyone may publish into them.
func createStreams(ctx context.Context, nc *nats.Conn, s events.Subjects) error {
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	for _, config := range []jetstream.StreamConfig{
		{
			Name: s.RequestsStream(),
			Subjects: []string{
				s.Request("text2video", events.PriorityNormal), s.Request("text2video", events.PriorityHigh),
				s.Request("text-to-video", events.PriorityNormal),
			},
			Retention: jetstream.WorkQueuePolicy,
		},
		{
			Name:        s.EventsStream(),
			Subjects:    []string{s.AllProgress(), s.AllCompletions(), s.Late("*", "*", "*"), s.Archived("*", "*", "*"), "kling-state.>"},
			AllowDirect: true,
		},
	} {
		if _, err := js.CreateStream(ctx, config); err != nil {
			return err
		}
	}
	return nil
}

// bundle is what a test of the client needs.
type bundle struct {
	t        *testing.T
	server   *natsServer
	nc       *nats.Conn // the client's
	js       jetstream.JetStream
	client   *events.Client
	subjects events.Subjects
}

// setup runs a server with the streams of a bridge until the test ends.
func setup(t *testing.T, opts ...nats.Option) *bundle {
	t.Helper()
	b := setupEmpty(t, opts...)
	if err := createStreams(t.Context(), b.nc, b.subjects); err != nil {
		t.Fatal(err)
	}
	return b
}

// setupEmpty runs a server with JetStream and nothing in it.
func setupEmpty(t *testing.T, opts ...nats.Option) *bundle {
	t.Helper()
	s := &natsServer{opts: server.Options{
		DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
	}}
	return newBundle(t, s, opts...)
}

func newBundle(t *testing.T, s *natsServer, opts ...nats.Option) *bundle {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	b := &bundle{t: t, server: s, subjects: events.Subjects{}}
	b.nc, b.js = b.connect(opts...)
	var err error
	if b.client, err = events.NewClient(b.nc, b.subjects); err != nil {
		t.Fatal(err)
	}
	return b
}

// connect returns a connection that ends with the test.
func (b *bundle) connect(opts ...nats.Option) (*nats.Conn, jetstream.JetStream) {
	b.t.Helper()
	nc, err := b.server.connect(opts...)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		b.t.Fatal(err)
	}
	return nc, js
}

// restart stops the server and starts it again, and returns when the client is connected.
func (b *bundle) restart() {
	b.t.Helper()
	b.server.stop()
	if err := b.server.start(); err != nil {
		b.t.Fatal(err)
	}
	b.eventually("the client is connected again", b.nc.IsConnected)
}

// store puts an event into the stream as the bridge does.
func (b *bundle) store(js jetstream.JetStream, eventType events.Type, ev events.Event) {
	b.t.Helper()
	if err := storeEvent(b.t.Context(), js, b.subjects, eventType, ev); err != nil {
		b.t.Fatal(err)
	}
}

func storeEvent(ctx context.Context, js jetstream.JetStream, s events.Subjects, t events.Type, ev events.Event) error {
	msg, err := eventstest.Message(s, t, &ev)
	if err != nil {
		return err
	}
	_, err = js.PublishMsg(ctx, msg)
	return err
}

// requests returns what is in the requests stream.
func (b *bundle) requests() []*jetstream.RawStreamMsg {
	b.t.Helper()
	stream, err := b.js.Stream(b.t.Context(), b.subjects.RequestsStream())
	if err != nil {
		b.t.Fatal(err)
	}
	var msgs []*jetstream.RawStreamMsg
	for seq := range stream.CachedInfo().State.LastSeq {
		msg, err := stream.GetMsg(b.t.Context(), seq+1)
		if err != nil {
			b.t.Fatal(err)
		}
		msgs = append(msgs, msg)
	}
	return msgs
}

// readers counts the consumers of the events stream.
func (b *bundle) readers() int {
	b.t.Helper()
	stream, err := b.js.Stream(b.t.Context(), b.subjects.EventsStream())
	if err != nil {
		b.t.Fatal(err)
	}
	return stream.CachedInfo().State.Consumers
}

// waiting counts the requests for messages that readers have open: a reader that has none yet would only miss its
// consumer after some heartbeats.
func (b *bundle) waiting() int {
	b.t.Helper()
	stream, err := b.js.Stream(b.t.Context(), b.subjects.EventsStream())
	if err != nil {
		b.t.Fatal(err)
	}
	n := 0
	for info := range stream.ListConsumers(b.t.Context()).Info() {
		n += info.NumWaiting
	}
	return n
}

// eventually waits for a condition.
func (b *bundle) eventually(what string, condition func() bool) {
	b.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(startTimeout)
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("not within %s: %s", startTimeout, what)
		}
	}
}

// event returns an event such as the bridge publishes.
func event(id string, status events.Status) events.Event {
	at := events.At(time.Date(2026, 11, 23, 9, 0, 0, 123456789, time.UTC))
	ev := events.Event{
		RequestID: id, Kind: "text2video", Status: status, Source: events.SourceBridge,
		RequestedAt: at, PublishedAt: at, Metadata: map[string]string{},
	}
	if status.Terminal() {
		ev.CompletedAt = &at
	}
	switch status {
	case events.StatusSucceed:
		ev.Source, ev.TaskID = events.SourceCallback, "871000000000000101"
		ev.Result = &events.Result{
			Videos: []events.Video{{
				ID: "871000000000000777", URL: "https://cdn.example/a.mp4?x=1&y=2", DurationSeconds: "5.1",
			}},
			Images: []events.Image{}, Audios: []events.Audio{}, Files: []events.File{}, ExpiresAt: at,
		}
	case events.StatusSubmitted, events.StatusProcessing:
	default:
		ev.Error = &events.Error{Class: events.ErrorInvalid, Code: 1201, HTTPStatus: 400, Message: "no"}
	}
	return ev
}

// exampleBridge runs a server with a bridge that succeeds at everything.
func exampleBridge() (nc *nats.Conn, stop func()) {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	dir, err := os.MkdirTemp("", "events-example")
	must(err)
	s := &natsServer{opts: server.Options{DontListen: true, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true}}
	must(s.start())
	nc, err = s.connect()
	must(err)

	ctx, subjects := context.Background(), events.Subjects{}
	must(createStreams(ctx, nc, subjects))
	js, err := jetstream.New(nc)
	must(err)
	consumer, err := js.CreateConsumer(ctx, subjects.RequestsStream(), jetstream.ConsumerConfig{})
	must(err)
	serving, err := consumer.Consume(func(msg jetstream.Msg) {
		id := msg.Headers().Get(events.HeaderRequestID)
		must(storeEvent(ctx, js, subjects, events.TypeProgress, event(id, events.StatusSubmitted)))
		must(storeEvent(ctx, js, subjects, events.TypeCompletion, event(id, events.StatusSucceed)))
		must(msg.Ack())
	})
	must(err)
	return nc, func() {
		serving.Stop()
		<-serving.Closed()
		nc.Close()
		s.stop()
		must(os.RemoveAll(dir))
	}
}
