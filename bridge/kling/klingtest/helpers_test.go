package klingtest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

const (
	key         = "api-key-kling-test"
	callbackURL = "https://bridge.test/callbacks/1"
	textToVideo = "/v1/videos/text2video"
	v2Video     = "/text-to-video/kling-3.0"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// api calls a server without a network between, so that it works in a bubble of fake time too.
type api struct {
	t testing.TB
	*klingtest.Server
	token string
}

// newAPI serves with the options until the test ends, for clients with the static key.
func newAPI(t testing.TB, o klingtest.Options) api {
	t.Helper()
	o.APIKeys = append(o.APIKeys, key)
	sim, err := klingtest.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(sim.Close)
	return api{t, sim, key}
}

// answer is a response in Kling's envelope.
type answer struct {
	HTTPStatus int             `json:"-"`
	Header     http.Header     `json:"-"`
	Body       string          `json:"-"`
	Code       int             `json:"code"`
	Message    string          `json:"message"`
	RequestID  string          `json:"request_id"`
	Data       json.RawMessage `json:"data"`
}

func (a api) do(r *http.Request) answer {
	a.t.Helper()
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	got := answer{HTTPStatus: w.Code, Header: w.Header(), Body: w.Body.String()}
	if w.Header().Get("Content-Type") == "application/json" {
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			a.t.Fatalf("%s %s: %v in %q", r.Method, r.URL, err, w.Body)
		}
	}
	return got
}

func (a api) request(method, path, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+a.token)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func (a api) post(path, body string) answer {
	a.t.Helper()
	return a.do(a.request(http.MethodPost, path, body))
}

func (a api) get(path string) answer {
	a.t.Helper()
	return a.do(a.request(http.MethodGet, path, ""))
}

// create makes a task and returns its id.
func (a api) create(path, body string) string {
	a.t.Helper()
	got := a.post(path, body)
	if got.HTTPStatus != http.StatusOK || got.Code != 0 {
		a.t.Fatalf("create %s %s: %d %s", path, body, got.HTTPStatus, got.Body)
	}
	object := decode(a.t, got.Data)
	if id, ok := object["id"].(string); ok {
		return id
	}
	return object["task_id"].(string)
}

func (a api) refused(path, body string, httpStatus, code int) {
	a.t.Helper()
	got := a.post(path, body)
	if got.HTTPStatus != httpStatus || got.Code != code || got.Data != nil || got.RequestID == "" {
		a.t.Errorf("POST %s %s: %d %s; want %d, code %d, no data", path, body, got.HTTPStatus, got.Body, httpStatus, code)
	}
}

func decode(t testing.TB, data []byte) map[string]any {
	t.Helper()
	var object map[string]any
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if err := d.Decode(&object); err != nil {
		t.Fatalf("%v in %s", err, data)
	}
	return object
}

// received is a callback.
type received struct {
	header http.Header
	body   []byte
	status string
}

// receiver is a callback endpoint, reached through the client that it is the transport of.
type receiver struct {
	mu     sync.Mutex
	got    []received
	answer func(received) int // of the HTTP status; nil: always 200
}

func (r *receiver) client() *http.Client { return &http.Client{Transport: r} }

func (r *receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return nil, err
	}
	got := received{header: request.Header, body: body, status: statusOf(body)}
	r.mu.Lock()
	r.got = append(r.got, got)
	answer := r.answer
	r.mu.Unlock()
	status := http.StatusOK
	if answer != nil {
		status = answer(got)
	}
	header := http.Header{"Location": {"https://elsewhere.test/"}}
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody, Request: request}, nil
}

// statusOf finds the task's status in a callback of any shape.
func statusOf(body []byte) string {
	type object struct {
		V1 string `json:"task_status"`
		V2 string `json:"status"`
	}
	var o struct {
		object
		Data object `json:"data"`
	}
	_ = json.Unmarshal(body, &o)
	return o.V1 + o.V2 + o.Data.V1 + o.Data.V2
}

func (r *receiver) received() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

func (r *receiver) statuses() []string {
	var list []string
	for _, c := range r.received() {
		list = append(list, c.status)
	}
	return list
}

// newEndpoint listens for callbacks, answers them all with 200, and returns its URL.
func newEndpoint(t testing.TB, receive func(received)) string {
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("read a callback: %v", err)
		}
		receive(received{header: r.Header, body: body, status: statusOf(body)})
	}))
	t.Cleanup(server.Close)
	return server.URL
}
