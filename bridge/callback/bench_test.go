package callback

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
)

// rig is a receiver on a stub of NATS, with callbacks about tasks that it knows.
type rig struct {
	receiver *Receiver
	bus      *bus.Bus
	cache    *store.Cache
	records  []*store.Record
	requests []*http.Request
	bodies   []*bytes.Reader
	writer   answerWriter
}

const rigSize = 512

func newRig(tb testing.TB) *rig {
	tb.Helper()
	b, err := bus.New(bustest.Stub(tb), bus.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	return newRigOn(tb, b)
}

func newRigOn(tb testing.TB, b *bus.Bus) *rig {
	tb.Helper()
	meter := telemetry.NewMeter(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	log := slog.New(slog.NewJSONHandler(&answerWriter{}, nil))
	signer := NewSigner("http://b.example", "kling", "ns", []string{"a-callback-secret-of-some-length"})
	kinds := kling.DefaultKinds()
	client, err := kling.NewClient(kling.Options{Credentials: kling.Credentials{APIKey: "key"}})
	if err != nil {
		tb.Fatal(err)
	}
	accounts, err := kling.NewAccounts(kling.Account{Name: kling.DefaultAccount, Client: client})
	if err != nil {
		tb.Fatal(err)
	}
	live := &Live{
		Store: &store.Store{
			Bus: b, Subjects: subjects.Default(), Kinds: kinds, Retention: time.Hour, Telemetry: telemetry.New(noop.NewTracerProvider(), nil),
			Metrics: store.NewMetrics(meter, kinds), Log: log,
		},
		Signer: signer, Kinds: kinds, Trust: TrustURL, Cache: store.NewCache(rigSize),
		Accounts: accounts,
	}
	r := &rig{receiver: &Receiver{Log: log, Metrics: NewMetrics(meter), Unproven: make(chan struct{}, 1)}, bus: b, cache: live.Cache}
	r.receiver.Live.Store(live)
	r.writer.header = http.Header{}
	for i := range rigSize {
		r.add(tb, signer, i)
	}
	return r
}

func (r *rig) add(tb testing.TB, signer Signer, i int) {
	const body = `{"task_id":"%s","task_status":"succeed","task_info":{"external_task_id":"%s"},` +
		`"task_result":{"images":[],"videos":[{"id":"871000000000000777","url":"https://v15-kling-fdl.klingai.com/bs2/%s",` +
		`"duration":"5.1"}],"audios":[]},"task_status_msg":"","final_unit_deduction":"3","created_at":1775000000123,"updated_at":1775000229530}`
	now := time.Now()
	rec := &store.Record{
		Version: 1, RequestID: fmt.Sprintf("order-%09d", i), Kind: "text2video", State: store.StateSubmitted, Account: kling.DefaultAccount,
		ExternalTaskID: fmt.Sprintf("k7f3abcd-order-%09d", i), TaskID: fmt.Sprintf("871%015d", i), Slots: 1, RequestedAt: now, SubmittedAt: now,
		Trace: telemetry.Trace{Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"},
	}
	u, err := url.Parse(signer.URL(rec.Kind, rec.RequestID))
	if err != nil {
		tb.Fatal(err)
	}
	data := fmt.Appendf(nil, body, rec.TaskID, rec.ExternalTaskID, strings.Repeat("x", 600))
	reader := bytes.NewReader(data)
	request := (&http.Request{
		Method: http.MethodPost, URL: u, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(data)),
		Body: io.NopCloser(reader), ProtoMajor: 2,
	}).WithContext(tb.Context())
	r.records, r.requests, r.bodies = append(r.records, rec), append(r.requests, request), append(r.bodies, reader)
}

// again has all tasks known and all callbacks unread.
func (r *rig) again() {
	for i, rec := range r.records {
		r.cache.Put(rec)
		_, _ = r.bodies[i].Seek(0, io.SeekStart) // it can't fail
	}
}

func (r *rig) serve(tb testing.TB, i int) {
	clear(r.writer.header)
	r.writer.status = 0
	r.receiver.ServeHTTP(&r.writer, r.requests[i])
	if r.writer.status != http.StatusOK {
		tb.Fatalf("answered %d", r.writer.status)
	}
}

// answerWriter takes an answer.
type answerWriter struct {
	header http.Header
	status int
}

func (w *answerWriter) Header() http.Header            { return w.header }
func (w *answerWriter) Write(data []byte) (int, error) { return len(data), nil }
func (w *answerWriter) WriteHeader(status int)         { w.status = status }

// BenchmarkReceiver is a callback from its headers being read to its answer, with a stub in place of NATS: its client's part
// is in it.
func BenchmarkReceiver(b *testing.B) {
	r := newRig(b)
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if i%rigSize == 0 {
			b.StopTimer()
			r.again()
			b.StartTimer()
		}
		r.serve(b, i%rigSize)
	}
}

// BenchmarkPublish is what NATS's client takes of a callback.
func BenchmarkPublish(b *testing.B) {
	r := newRig(b)
	msg := completion()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.bus.Publish(b.Context(), msg); err != nil {
			b.Fatal(err)
		}
	}
}

// completion is a message of a completion's size.
func completion() *nats.Msg {
	msg := nats.NewMsg("kling-put.kling.completion.text2video.succeed.order-000000042")
	for i := range 18 {
		msg.Header.Set(fmt.Sprintf("Kling-Header-%02d", i), "a value of some length")
	}
	msg.Data = bytes.Repeat([]byte{'x'}, 2000)
	return msg
}
