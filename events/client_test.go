package events_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

var textBody = body.Raw("text2video", []byte(`{"prompt":"a lighthouse"}`))

func TestNewClientWantsAConnection(t *testing.T) {
	t.Parallel()
	if _, err := events.NewClient(nil, events.Subjects{}); err == nil {
		t.Error("no connection is no error")
	}
}

func TestSubmitStoresTheRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	o := events.Options{
		ID: "order-42", Priority: events.PriorityHigh, Timeout: 90 * time.Minute,
		Metadata: map[string]string{"Tenant": "acme", "lower-case": "Köln"},
	}

	id, err := b.client.Submit(tracedContext(t), textBody, o)
	if err != nil || id != "order-42" {
		t.Fatalf("Submit = %q, %v", id, err)
	}
	msgs := b.requests()
	if len(msgs) != 1 {
		t.Fatalf("%d requests are stored, want 1", len(msgs))
	}
	if got, want := msgs[0].Subject, "kling.request.text2video.high"; got != want {
		t.Errorf("subject %s, want %s", got, want)
	}
	if got, want := string(msgs[0].Data), `{"prompt":"a lighthouse"}`; got != want {
		t.Errorf("body %s, want %s", got, want)
	}
	for name, want := range map[string]string{
		"Content-Type":          "application/json",
		"Kling-Request-Id":      "order-42",
		"Nats-Msg-Id":           "order-42",
		"Kling-Timeout":         "1h30m0s",
		"Kling-Meta-Tenant":     "acme",
		"Kling-Meta-lower-case": "Köln",
		"traceparent":           "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"baggage":               "team=film",
	} {
		if got := msgs[0].Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
}

func tracedContext(t *testing.T) context.Context {
	t.Helper()
	traceID, err := trace.TraceIDFromHex("0af7651916cd43dd8448eb211c80319c")
	if err != nil {
		t.Fatal(err)
	}
	spanID, err := trace.SpanIDFromHex("b7ad6b7169203331")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.Parse("team=film")
	if err != nil {
		t.Fatal(err)
	}
	ctx := trace.ContextWithRemoteSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: traceID, SpanID: spanID, TraceFlags: trace.FlagsSampled,
	}))
	return baggage.ContextWithBaggage(ctx, bag)
}

func TestSubmitTwiceStoresOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 2 {
		if _, err := b.client.Submit(t.Context(), textBody, events.Options{ID: "Bestellung Nr. 1"}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(b.requests()); n != 1 {
		t.Errorf("%d requests are stored, want 1", n)
	}
}

func TestSubmitGeneratesIDs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first, err1 := b.client.Submit(t.Context(), textBody, events.Options{})
	second, err2 := b.client.Submit(t.Context(), textBody, events.Options{})
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if first == second || !events.IsToken(first) || !events.IsToken(second) {
		t.Errorf("ids %q and %q, want two different tokens", first, second)
	}
}

func TestSubmitRefusesWhatIsNotValid(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, err := b.client.Submit(t.Context(), body.Raw("text2video", []byte(`[]`)), events.Options{ID: "x"})
	if id != "" || err == nil {
		t.Errorf("Submit = %q, %v; want an error and no id", id, err)
	}
}

func TestNoBridge(t *testing.T) {
	t.Parallel()
	withoutJetStream := func(t *testing.T) *bundle {
		return newBundle(t, &natsServer{opts: server.Options{DontListen: true, NoSigs: true, NoLog: true}})
	}
	withoutStreams := func(t *testing.T) *bundle { return setupEmpty(t) }
	withBridge := func(t *testing.T) *bundle { return setup(t) }
	submit := func(b *bundle) error {
		_, err := b.client.Submit(b.t.Context(), body.Raw("unheard-of", []byte(`{}`)), events.Options{})
		return err
	}
	await := func(b *bundle) error {
		_, err := b.client.Await(b.t.Context(), "order-42")
		return err
	}
	watch := func(b *bundle) error {
		for _, err := range b.client.Watch(b.t.Context(), events.Filter{}) {
			return err
		}
		return nil
	}
	for name, tt := range map[string]struct {
		setup func(*testing.T) *bundle
		do    func(*bundle) error
		want  error
	}{
		"submit without JetStream":    {withoutJetStream, submit, events.ErrNoBridge},
		"submit without streams":      {withoutStreams, submit, events.ErrNoBridge},
		"submit with an unknown kind": {withBridge, submit, events.ErrUnknownKind},
		"await without JetStream":     {withoutJetStream, await, events.ErrNoBridge},
		"await without streams":       {withoutStreams, await, events.ErrNoBridge},
		"watch without JetStream":     {withoutJetStream, watch, events.ErrNoBridge},
		"watch without streams":       {withoutStreams, watch, events.ErrNoBridge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if err := tt.do(tt.setup(t)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestSubmitOutlivesAnOutage(t *testing.T) {
	t.Parallel()
	for name, bufSize := range map[string]int{"buffered": nats.DefaultReconnectBufSize, "not buffered": -1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, nats.ReconnectBufSize(bufSize))
			b.server.stop()
			b.eventually("the client knows", func() bool { return !b.nc.IsConnected() })
			done := make(chan error, 1)
			go func() {
				_, err := b.client.Submit(t.Context(), textBody, events.Options{ID: "order-42"})
				done <- err
			}()
			b.restart()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if n := len(b.requests()); n != 1 {
				t.Errorf("%d requests are stored, want 1", n)
			}
		})
	}
}

func TestSubmitEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.server.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	id, err := b.client.Submit(ctx, textBody, events.Options{ID: "order-42"})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want that the deadline was exceeded", err)
	}
	if id != "order-42" {
		t.Errorf("id %q, want it to try again with", id)
	}
}

func TestSubmitTellsOfAClosedConnection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.nc.Close()
	if _, err := b.client.Submit(t.Context(), textBody, events.Options{ID: "order-42"}); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v, want ErrConnectionClosed", err)
	}
}

func TestDo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.store(b.js, events.TypeCompletion, event("order-42", events.StatusExpired))
	ev, err := b.client.Do(t.Context(), textBody, events.Options{ID: "order-42"})
	if err != nil || ev.Status != events.StatusExpired {
		t.Errorf("Do = %+v, %v", ev, err)
	}
	if _, err := b.client.Do(t.Context(), nil, events.Options{}); err == nil {
		t.Error("no body is no error")
	}
}

// The permissions are those of the package comment.
func TestClientNeedsFewPermissions(t *testing.T) {
	t.Parallel()
	comment, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	allowed := regexp.MustCompile(`(?m)^//\t(kling\.request\.>|\$JS\S+)$`).FindAllStringSubmatch(string(comment), -1)
	if len(allowed) != 8 {
		t.Fatalf("%d permissions in the package comment, want 8", len(allowed))
	}
	publish := &server.SubjectPermission{}
	for _, match := range allowed {
		publish.Allow = append(publish.Allow, match[1])
	}
	b := newBundle(t, &natsServer{opts: server.Options{
		DontListen: true, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true, NoAuthUser: "bridge",
		Users: []*server.User{{Username: "bridge"}, {Username: "app", Password: "secret", Permissions: &server.Permissions{
			Publish: publish, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
		}}},
	}})
	if err := createStreams(t.Context(), b.nc, b.subjects); err != nil {
		t.Fatal(err)
	}
	denied := make(chan error, 10)
	nc, _ := b.connect(nats.UserInfo("app", "secret"), nats.ErrorHandler(
		func(_ *nats.Conn, _ *nats.Subscription, err error) { denied <- err },
	))
	client, err := events.NewClient(nc, b.subjects)
	if err != nil {
		t.Fatal(err)
	}
	b.store(b.js, events.TypeCompletion, event("order-42", events.StatusSucceed))
	if _, err := client.Do(t.Context(), textBody, events.Options{ID: "order-42"}); err != nil {
		t.Error(err)
	}
	unknown := body.Raw("unheard-of", []byte(`{}`))
	if _, err := client.Submit(t.Context(), unknown, events.Options{}); !errors.Is(err, events.ErrUnknownKind) {
		t.Errorf("got %v, want ErrUnknownKind", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	handled := client.Handle(ctx, "videos", events.Filter{FromStart: true}, func(context.Context, events.Event) error {
		cancel()
		return nil
	})
	if !errors.Is(handled, context.Canceled) {
		t.Errorf("handle: %v", handled)
	}
	if err := b.js.DeleteConsumer(t.Context(), "KLING_EVENTS", "videos"); err != nil { // it outlives its client
		t.Error(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	watched := make(chan error, 1)
	go func() {
		for _, err := range client.Watch(ctx, events.Filter{}) {
			watched <- err
			return
		}
	}()
	b.eventually("somebody watches", func() bool { return b.waiting() > 0 })
	cancel()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want that of the context", err)
	}
	if n := b.readers(); n != 0 {
		t.Errorf("%d consumers are left", n)
	}
	select {
	case err := <-denied:
		t.Error(err)
	default:
	}
}
