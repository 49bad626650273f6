package kling_test

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.opentelemetry.io/otel/baggage"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

const testKey = "api-key-kling-0123456789abcdef"

// newClient returns a client of a server that handle answers for.
func newClient(t *testing.T, handle http.HandlerFunc, change ...func(*kling.Options)) *kling.Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	o := kling.Options{
		BaseURL: server.URL, Credentials: kling.Credentials{APIKey: testKey}, Timeout: 10 * time.Second,
	}
	for _, f := range change {
		f(&o)
	}
	client, err := kling.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// respond answers every call alike.
func respond(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func kind(t testing.TB, name string) kling.Kind {
	t.Helper()
	k, ok := kling.DefaultKinds().Lookup(name)
	if !ok {
		t.Fatalf("no kind %s", name)
	}
	return k
}

func failure(t testing.TB, err error) *kling.Error {
	t.Helper()
	e, ok := errors.AsType[*kling.Error](err)
	if !ok {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

func TestCreate(t *testing.T) {
	t.Parallel()
	const body = `{"prompt":"café","cfg_scale":0.50,"z":1,"a":[1e3]}`
	tests := map[string]struct{ kind, model, path string }{
		"v1":                  {"text2video", "", "/v1/videos/text2video"},
		"v2":                  {"text-to-video", "kling-3.0", "/text-to-video/kling-3.0"},
		"v2, a hostile model": {"text-to-video", "..", "/text-to-video/%2E%2E"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
				got, _ := io.ReadAll(r.Body)
				if r.Method != http.MethodPost || r.URL.EscapedPath() != test.path || string(got) != body {
					t.Errorf("got %s %s %s", r.Method, r.URL.EscapedPath(), got)
				}
				if r.Header.Get("Authorization") != "Bearer "+testKey || r.Header.Get("Content-Type") != "application/json" {
					t.Errorf("headers: %v", r.Header)
				}
				_, _ = w.Write(golden(t, "create_accepted"))
			})
			got, err := client.Create(t.Context(), kind(t, test.kind), test.model, []byte(body))
			if err != nil {
				t.Fatal(err)
			}
			want := kling.Task{
				ID: "871000000000000101", ExternalID: "job-7f3a-1", Status: kling.StatusSubmitted,
				CreatedAt: at(1775000000123), UpdatedAt: at(1775000000123),
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(kling.Task{}, "Raw")); diff != "" {
				t.Errorf("task (-want +got):\n%s", diff)
			}
		})
	}
}

func TestCheckCredentials(t *testing.T) {
	t.Parallel()
	now := time.UnixMilli(1790600000865)
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if want := "/account/costs?end_time=1790600000865&start_time=1790513600865"; r.RequestURI != want {
			t.Errorf("got %s, want %s", r.RequestURI, want)
		}
		_, _ = io.WriteString(w, `{"code":0,"message":"SUCCEED","data":{"code":0,"msg":"success"}}`)
	}, func(o *kling.Options) { o.Now = func() time.Time { return now } })
	if err := client.CheckCredentials(t.Context()); err != nil {
		t.Error(err)
	}
	refusing := newClient(t, respond(http.StatusUnauthorized, `{"code":1002,"message":"api key not found"}`))
	if e := failure(t, refusing.CheckCredentials(t.Context())); e.Class != kling.ClassAuth {
		t.Errorf("got %s: %v", e.Class, e)
	}
}

func TestNewClient(t *testing.T) {
	t.Parallel()
	key := kling.Credentials{APIKey: testKey}
	tests := map[string]struct {
		options kling.Options
		ok      bool
	}{
		"default":                {kling.Options{Credentials: key}, true},
		"a pair":                 {kling.Options{Credentials: kling.Credentials{AccessKey: "a", SecretKey: "s"}}, true},
		"http to 127.0.0.1":      {kling.Options{BaseURL: "http://127.0.0.1:1", Credentials: key}, true},
		"http to ::1":            {kling.Options{BaseURL: "http://[::1]:1", Credentials: key}, true},
		"http to localhost":      {kling.Options{BaseURL: "http://localhost:1", Credentials: key}, true},
		"http elsewhere":         {kling.Options{BaseURL: "http://api.klingai.com", Credentials: key}, false},
		"http to a loopback lie": {kling.Options{BaseURL: "http://localhost.example.com", Credentials: key}, false},
		"no scheme":              {kling.Options{BaseURL: "api.klingai.com", Credentials: key}, false},
		"another scheme":         {kling.Options{BaseURL: "ftp://127.0.0.1", Credentials: key}, false},
		"a query":                {kling.Options{BaseURL: "https://h?x=1", Credentials: key}, false},
		"a user":                 {kling.Options{BaseURL: "https://u:hunter2@h", Credentials: key}, false},
		"no URL":                 {kling.Options{BaseURL: "https://u:hunter2@h:port", Credentials: key}, false},
		"no credentials":         {kling.Options{}, false},
		"half a pair":            {kling.Options{Credentials: kling.Credentials{AccessKey: "a"}}, false},
		"a key with a line end":  {kling.Options{Credentials: kling.Credentials{APIKey: "hunter2\n"}}, false},
		"a negative timeout":     {kling.Options{Credentials: key, Timeout: -1}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, err := kling.NewClient(test.options)
			if (err == nil) != test.ok {
				t.Fatalf("NewClient = %v, want ok %t", err, test.ok)
			}
			if err != nil {
				if strings.Contains(err.Error(), "hunter2") {
					t.Errorf("the error quotes a secret: %v", err)
				}
				return
			}
			client.Close()
		})
	}
}

func TestBaseURL(t *testing.T) {
	t.Parallel()
	for suffix, want := range map[string]string{
		"": "/v1/videos/effects", "/": "/v1/videos/effects", "/v1": "/v1/videos/effects", "/v1/": "/v1/videos/effects",
		"/proxy": "/proxy/v1/videos/effects", "/proxy/v1": "/proxy/v1/videos/effects",
	} {
		client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != want {
				t.Errorf("base URL …%s: got path %s, want %s", suffix, r.URL.Path, want)
			}
			_, _ = w.Write(golden(t, "create_accepted"))
		}, func(o *kling.Options) { o.BaseURL += suffix })
		if _, err := client.Create(t.Context(), kind(t, "effects"), "", []byte(`{}`)); err != nil {
			t.Errorf("base URL …%s: %v", suffix, err)
		}
	}
}

// What is going on inside is none of Kling's business, but ours to see.
func TestTracing(t *testing.T) {
	t.Parallel()
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Traceparent", "Tracestate", "Baggage"} {
			if r.Header.Get(name) != "" {
				t.Errorf("header %s was sent: %s", name, r.Header.Get(name))
			}
		}
		_, _ = w.Write(golden(t, "create_accepted"))
	}, func(o *kling.Options) { o.TracerProvider = provider })
	member, err := baggage.NewMember("tenant", "acme")
	if err != nil {
		t.Fatal(err)
	}
	bag, err := baggage.New(member)
	if err != nil {
		t.Fatal(err)
	}
	ctx, parent := provider.Tracer("test").Start(baggage.ContextWithBaggage(t.Context(), bag), "request")
	if _, err := client.Create(ctx, kind(t, "text2video"), "", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	ended := spans.Ended()
	if len(ended) != 1 || ended[0].Parent().SpanID() != parent.SpanContext().SpanID() {
		t.Fatalf("got %d spans, want one below the caller's", len(ended))
	}
	for _, attribute := range ended[0].Attributes() {
		if strings.Contains(attribute.Value.String(), testKey) {
			t.Errorf("attribute %s holds the API key", attribute.Key)
		}
	}
}

// A burst of calls keeps its connections for the next one.
func TestConnectionReuse(t *testing.T) {
	t.Parallel()
	const burst = 32
	var opened atomic.Int64
	var arrived atomic.Pointer[sync.WaitGroup]
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived.Load().Done()
		arrived.Load().Wait() // so that each call of a burst needs a connection of its own
		_, _ = w.Write(golden(t, "create_accepted"))
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		opened.Add(1)
		return ctx
	}
	server.Start()
	t.Cleanup(server.Close)
	client, err := kling.NewClient(kling.Options{BaseURL: server.URL, Credentials: kling.Credentials{APIKey: testKey}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	for range 2 {
		together := &sync.WaitGroup{}
		together.Add(burst)
		arrived.Store(together)
		var calls sync.WaitGroup
		for range burst {
			calls.Go(func() {
				if _, err := client.Create(t.Context(), kind(t, "text2video"), "", []byte(`{}`)); err != nil {
					t.Error(err)
				}
			})
		}
		calls.Wait()
	}
	if opened.Load() != burst {
		t.Errorf("opened %d connections for two bursts of %d", opened.Load(), burst)
	}
}

// A large body goes out whole.
func TestLargeBody(t *testing.T) {
	t.Parallel()
	body := []byte(`{"image":"` + strings.Repeat(rand.Text(), 1<<18) + `"}`)
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != string(body) {
			t.Errorf("got %d bytes, want the %d that were sent: %v", len(got), len(body), err)
		}
		_, _ = w.Write(golden(t, "create_accepted"))
	})
	if _, err := client.Create(t.Context(), kind(t, "image2video"), "", body); err != nil {
		t.Error(err)
	}
}
