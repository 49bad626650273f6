package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/goleak"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/clock/clocktest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
	eventbody "github.com/klingbridge/klingbridge/events/body"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// TestMain looks for goroutines that are left. The client library leaves one where an upload to an object store ends before
// the goroutine that watches its connection has begun (nats.go 1.55, read in its source).
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("github.com/nats-io/nats.go/jetstream.(*jetStream).resetPendingAcksOnReconnect"))
}

const apiKey = "test-key"

// patience is how long a test waits for what must happen.
const patience = 2 * time.Minute

// world is a bridge between a real NATS server and a simulated Kling, and a client that talks to it.
type world struct {
	t      *testing.T
	ctx    context.Context
	sim    *klingtest.Running
	nc     *nats.Conn
	js     jetstream.JetStream
	client *events.Client
	urls   string
	broke  *atomic.Bool // the account of a pool, where a test has said of which

	replicas []*running
}

// setup is what a test changes about its world.
type setup struct {
	sim      klingtest.Options
	bridge   bridge.Options
	natsURL  string // empty: a server of its own
	replicas int    // of the bridge; zero: one
	pollOnly bool
	archive  string // URL; empty: none. The simulated Kling's files may be fetched
}

// start runs a world until the test ends. Without other settings its tasks take 60 ms.
func start(t *testing.T, s setup) *world {
	t.Helper()
	if s.natsURL == "" {
		s.natsURL = bustest.Start(t).URL()
	}
	w := &world{t: t, ctx: t.Context(), urls: s.natsURL}
	w.startSim(s.sim)
	w.connect()
	s.replicas = max(s.replicas, 1)
	for range s.replicas {
		w.replicas = append(w.replicas, w.startBridge(s))
	}
	return w
}

func (w *world) startSim(o klingtest.Options) {
	if len(o.APIKeys) == 0 && o.AccessKey == "" {
		o.APIKeys = []string{apiKey}
	}
	if o.Duration == 0 {
		o.SubmittedFor, o.Duration = 20*time.Millisecond, 60*time.Millisecond
	}
	w.sim = klingtest.Start(w.t, o)
}

func (w *world) connect() {
	w.t.Helper()
	nc, err := nats.Connect(w.urls, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	w.nc = nc
	if w.js, err = jetstream.New(nc); err != nil {
		w.t.Fatal(err)
	}
	if w.client, err = events.NewClient(nc, events.Subjects{}); err != nil {
		w.t.Fatal(err)
	}
}

// running is one replica.
type running struct {
	callbackURL, adminURL string
	stop                  func() // returns once nothing of it runs
}

// streamInTheWay is somebody else's stream under the name of ours.
var streamInTheWay = jetstream.StreamConfig{Name: "KLING_EVENTS", Subjects: []string{"kling.completion.>"}}

// startBridge runs a replica and waits until it is ready.
func (w *world) startBridge(s setup) *running {
	w.t.Helper()
	r := w.launch(s)
	w.waitReady(r)
	return r
}

func (w *world) waitReady(r *running) {
	w.t.Helper()
	w.eventually("the bridge is ready", func() bool {
		status, _ := get(w.t, r.adminURL+"/readyz")
		return status == http.StatusOK
	})
}

// newBridge builds a replica and notes its addresses.
func (w *world) newBridge(s setup, r *running) *bridge.Bridge {
	w.t.Helper()
	o := s.bridge
	o.Bus.URL = w.urls
	if o.CallbackListener == nil {
		o.CallbackListener = listenLocal(w.t)
	}
	if o.AdminListener == nil {
		o.AdminListener = listenLocal(w.t)
	}
	r.callbackURL = "http://" + o.CallbackListener.Addr().String()
	r.adminURL = "http://" + o.AdminListener.Addr().String()
	if !s.pollOnly && o.PublicURL == "" {
		o.PublicURL = r.callbackURL
	}
	if o.Kling == nil {
		o.Kling = w.klingClient(kling.Credentials{APIKey: apiKey}, o.TracerProvider)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TracerProvider == nil {
		o.TracerProvider = noop.NewTracerProvider()
	}
	if s.archive != "" {
		o.Archive = w.archiveOptions(s)
	}
	if o.AckWait == 0 {
		o.AckWait = 2 * time.Second
	}
	b, err := bridge.New(o)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// launch runs a replica.
func (w *world) launch(s setup) *running {
	w.t.Helper()
	r := &running{}
	b := w.newBridge(s, r)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("bridge: %v", err)
		}
	})
	w.t.Cleanup(r.stop)
	return r
}

func (w *world) klingClient(c kling.Credentials, tp trace.TracerProvider) *kling.Client {
	w.t.Helper()
	client, err := kling.NewClient(kling.Options{
		BaseURL: w.sim.URL, Credentials: c, Timeout: 5 * time.Second, TracerProvider: tp,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	return client
}

func listenLocal(t *testing.T) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func get(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// eventually polls a condition that has no signal of its own.
func (w *world) eventually(what string, holds func() bool) {
	w.t.Helper()
	if !clocktest.Within(patience, holds) {
		w.t.Fatalf("waited %s in vain until %s", patience, what)
	}
}

// submit publishes a text2video request with a body of one prompt and returns its id.
func (w *world) submit(id, prompt string) string {
	w.t.Helper()
	return w.request(testRequest{Kind: "text2video", ID: id, Body: body(map[string]any{"prompt": prompt})})
}

// message is a text2video request with a body of one prompt, as any NATS client would publish it.
func (w *world) message(id, prompt string) *nats.Msg {
	msg := nats.NewMsg("kling.request.text2video")
	msg.Header.Set(events.HeaderRequestID, id)
	msg.Data = body(map[string]any{"prompt": prompt})
	return msg
}

// testRequest is a request that a test makes. The body is sent as it is.
type testRequest struct {
	Kind     string
	ID       string
	Priority events.Priority
	Timeout  time.Duration
	Metadata map[string]string
	Body     json.RawMessage
}

func (r testRequest) options() events.Options {
	return events.Options{ID: r.ID, Priority: r.Priority, Timeout: r.Timeout, Metadata: r.Metadata}
}

func (w *world) request(r testRequest) string {
	w.t.Helper()
	id, err := w.client.Submit(w.ctx, eventbody.Raw(r.Kind, r.Body), r.options())
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

func body(fields map[string]any) json.RawMessage {
	b, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return b
}

// await returns the completion of a request and checks it against the contract.
func (w *world) await(id string) events.Event {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	ev, err := w.client.Await(ctx, id)
	if err != nil {
		w.t.Fatalf("completion of %s: %v", id, err)
	}
	return ev
}

// stored returns every message on a subject filter of a stream, and checks events against their schema.
func (w *world) stored(stream, filter string) []*bus.Message {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, stream)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := s.Info(w.ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		w.t.Fatal(err)
	}
	total := sum(info.State.Subjects)
	var out []*bus.Message
	if total == 0 {
		return nil
	}
	c, err := w.js.OrderedConsumer(w.ctx, stream, jetstream.OrderedConsumerConfig{FilterSubjects: []string{filter}})
	if err != nil {
		w.t.Fatal(err)
	}
	for uint64(len(out)) < total {
		msg, err := c.Next(jetstream.FetchMaxWait(5 * time.Second))
		if err != nil {
			w.t.Fatalf("%s of %s: %v after %d of %d", filter, stream, err, len(out), total)
		}
		meta, err := msg.Metadata()
		if err != nil {
			w.t.Fatal(err)
		}
		out = append(out, &bus.Message{Subject: msg.Subject(), Seq: meta.Sequence.Stream, Header: msg.Headers(), Data: msg.Data()})
		if p, ok := subjects.Default().Parse(msg.Subject()); ok && isEvent(p.Type) {
			eventstest.Check(w.t, msg.Subject(), msg.Headers(), msg.Data())
		}
	}
	return out
}

// count returns how many messages a subject filter of a stream matches.
func (w *world) count(stream, filter string) uint64 {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, stream)
	if err != nil {
		w.t.Fatal(err)
	}
	info, err := s.Info(w.ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		w.t.Fatal(err)
	}
	return sum(info.State.Subjects)
}

func sum(subjects map[string]uint64) (total uint64) {
	for _, n := range subjects {
		total += n
	}
	return total
}

func isEvent(t events.Type) bool {
	return t == events.TypeProgress || t == events.TypeCompletion || t == events.TypeLate || t == events.TypeArchived
}

// events returns the public events of one request, as "type.status source".
func (w *world) events(id string) []string {
	w.t.Helper()
	var out []string
	s := subjects.Default()
	for _, m := range w.stored(s.EventsStream(), s.EventsOf(events.Token(id))) {
		p, _ := s.Parse(m.Subject)
		out = append(out, fmt.Sprintf("%s.%s %s", p.Type, p.Status, m.Header.Get(events.HeaderSource)))
	}
	return out
}

// settledDown waits until no request and no state of the bridge is left.
func (w *world) settledDown() {
	w.t.Helper()
	s := subjects.Default()
	w.eventually("no request is left", func() bool { return w.count(s.RequestsStream(), s.AllRequests()) == 0 })
	w.eventually("no pending record is left", func() bool { return w.count(s.EventsStream(), s.Records("*")) == 0 })
}

// noViolations fails the test if the simulated Kling found fault with a request of the bridge.
func (w *world) noViolations() {
	w.t.Helper()
	for _, v := range w.sim.Violations() {
		w.t.Errorf("Kling would not like: %s", v)
	}
}
