package eventstest

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// startTimeout is how long a server may take to start on a busy machine.
const startTimeout = 30 * time.Second

// Request is one that a fake bridge got.
type Request struct {
	ID       string
	Kind     string
	Priority events.Priority
	Metadata map[string]string
	Body     json.RawMessage
}

// Script decides what becomes of a request. It is called once for each id, one after the other.
//
// Without an error the request ends as succeed. With one of class policy or kling it ends as failed, with expired and
// cancelled as these, and with any other as rejected.
type Script func(Request) (events.Result, *events.Error)

// Video is a [Script] by which everything succeeds, with one video at this URL.
func Video(url string) Script {
	return func(Request) (events.Result, *events.Error) {
		return events.Result{Videos: []events.Video{{ID: "1", URL: url, DurationSeconds: "5"}}}, nil
	}
}

// Bridge stands in for a bridge in the tests of a program that submits requests and reads events: it takes requests of
// the kinds of [events.Kinds] under the default prefix, and publishes for each a submitted event, unless it is rejected,
// and a completion.
//
// It holds no promise of the bridge's beyond one completion for each id, and answers no questions: those end with
// [events.ErrNoAnswer].
type Bridge struct {
	Conn   *nats.Conn     // to its NATS server, which listens nowhere
	Client *events.Client // on that connection

	js     jetstream.JetStream
	script Script

	mu       sync.Mutex
	requests []Request
	known    map[string]bool // tokens
}

// StartBridge starts a NATS server in this process and a fake bridge on it. Both end with the test.
func StartBridge(tb testing.TB, script Script) *Bridge {
	tb.Helper()
	b := &Bridge{Conn: startServer(tb), script: script, known: map[string]bool{}}
	var err error
	if b.js, err = jetstream.New(b.Conn); err != nil {
		tb.Fatal(err)
	}
	if b.Client, err = events.NewClientFor(b.js, events.Subjects{}); err != nil {
		tb.Fatal(err)
	}
	consumer, err := b.createStreams(tb.Context())
	if err != nil {
		tb.Fatal(err)
	}
	serving, err := consumer.Consume(func(msg jetstream.Msg) {
		if err := b.serve(msg); err != nil {
			tb.Errorf("fake bridge: %s: %v", msg.Subject(), err)
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		serving.Stop()
		<-serving.Closed()
	})
	return b
}

// Requests returns what was asked for so far, each id once.
func (b *Bridge) Requests() []Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Request(nil), b.requests...)
}

func startServer(tb testing.TB) *nats.Conn {
	tb.Helper()
	srv := runServer(tb, &server.Options{DontListen: true})
	nc, err := nats.Connect("", nats.InProcessServer(srv))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	return nc
}

// runServer runs a server with JetStream until the test ends.
func runServer(tb testing.TB, o *server.Options) *server.Server {
	tb.Helper()
	o.JetStream, o.StoreDir, o.NoSigs, o.NoLog = true, tb.TempDir(), true, true
	srv, err := server.NewServer(o)
	if err != nil {
		tb.Fatal(err)
	}
	srv.Start()
	tb.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(startTimeout) {
		tb.Fatalf("the NATS server is not ready within %s", startTimeout)
	}
	return srv
}

// createStreams makes a stream of requests and one of events, into which anyone may publish. It returns the consumer of
// requests.
func (b *Bridge) createStreams(ctx context.Context) (jetstream.Consumer, error) {
	var s events.Subjects
	requests := jetstream.StreamConfig{Name: s.RequestsStream(), Retention: jetstream.WorkQueuePolicy}
	for _, kind := range events.Kinds() {
		for _, p := range events.Priorities() {
			requests.Subjects = append(requests.Subjects, s.Request(kind, p))
		}
	}
	stream, err := b.js.CreateStream(ctx, requests)
	if err != nil {
		return nil, err
	}
	_, err = b.js.CreateStream(ctx, jetstream.StreamConfig{Name: s.EventsStream(), Subjects: []string{
		s.AllProgress(), s.AllCompletions(), s.Late("*", "*", "*"), s.Archived("*", "*", "*"),
	}})
	if err != nil {
		return nil, err
	}
	return stream.CreateConsumer(ctx, jetstream.ConsumerConfig{AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 1})
}

func (b *Bridge) serve(msg jetstream.Msg) error {
	parsed, _ := events.Subjects{}.Parse(msg.Subject())
	r := Request{
		ID: msg.Headers().Get(events.HeaderRequestID), Kind: parsed.Kind, Priority: parsed.Priority,
		Metadata: events.Metadata(msg.Headers()), Body: msg.Data(),
	}
	if r.ID == "" {
		return errors.New("a request without " + events.HeaderRequestID)
	}
	if !b.first(r) {
		return msg.Ack()
	}
	result, reason := b.script(r)
	for _, e := range answer(r, result, reason) {
		if err := b.publish(e); err != nil {
			return err
		}
	}
	return msg.Ack()
}

// first notes a request, and reports whether its id is new.
func (b *Bridge) first(r Request) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	token := events.Token(r.ID)
	if b.known[token] {
		return false
	}
	b.known[token] = true
	b.requests = append(b.requests, r)
	return true
}

func (b *Bridge) publish(ev events.Event) error {
	t := events.TypeProgress
	if ev.Status.Terminal() {
		t = events.TypeCompletion
	}
	msg, err := Message(events.Subjects{}, t, &ev)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	_, err = b.js.PublishMsg(ctx, msg)
	return err
}

// answer returns the events of a request.
func answer(r Request, result events.Result, reason *events.Error) []events.Event {
	now := events.At(time.Now())
	submitted := events.Event{
		RequestID: r.ID, Kind: r.Kind, Status: events.StatusSubmitted, Source: events.SourceBridge,
		RequestedAt: now, PublishedAt: now, Metadata: r.Metadata,
	}
	end := submitted
	end.Status, end.CompletedAt, end.Error = statusOf(reason), &now, reason
	if end.Status == events.StatusRejected {
		return []events.Event{end}
	}
	submitted.TaskID, submitted.SubmittedAt = "task-"+events.Token(r.ID), &now
	end.TaskID, end.SubmittedAt, end.Source = submitted.TaskID, &now, events.SourceCallback
	if reason == nil {
		complete(&result, now)
		end.Result = &result
	}
	return []events.Event{submitted, end}
}

func statusOf(reason *events.Error) events.Status {
	if reason == nil {
		return events.StatusSucceed
	}
	switch reason.Class {
	case events.ErrorPolicy, events.ErrorKling:
		return events.StatusFailed
	case events.ErrorExpired:
		return events.StatusExpired
	case events.ErrorCancelled:
		return events.StatusCancelled
	default:
		return events.StatusRejected
	}
}

// complete fills in what every result has.
func complete(r *events.Result, now events.Time) {
	r.Videos = append([]events.Video{}, r.Videos...)
	r.Images = append([]events.Image{}, r.Images...)
	r.Audios = append([]events.Audio{}, r.Audios...)
	r.Files = append([]events.File{}, r.Files...)
	if r.ExpiresAt.IsZero() {
		r.ExpiresAt = events.At(now.Add(30 * 24 * time.Hour))
	}
}
