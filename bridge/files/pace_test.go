package files

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// storedObject is one of so many bytes.
func storedObject(t *testing.T, size int) *object {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{URL: bustest.Start(t).URL(), Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	bucket, err := b.JetStream().CreateObjectStore(t.Context(), jetstream.ObjectStoreConfig{Bucket: "in"})
	if err != nil {
		t.Fatal(err)
	}
	info, err := bucket.Put(t.Context(), jetstream.ObjectMeta{Name: "a.mp4"}, bytes.NewReader(make([]byte, size)))
	if err != nil {
		t.Fatal(err)
	}
	return &object{bus: b, info: info}
}

// limits notes those that a connection is given, and how much was written when.
type limits struct {
	*httptest.ResponseRecorder
	read    []time.Time
	write   []time.Time
	written []int
}

func (l *limits) SetReadDeadline(at time.Time) error {
	l.read = append(l.read, at)
	return nil
}

func (l *limits) SetWriteDeadline(at time.Time) error {
	l.write, l.written = append(l.write, at), append(l.written, l.Body.Len())
	return nil
}

// TestDownloadTakesItsTime lifts the limits of a callback from a download, and gives it the time of the lowest rate.
func TestDownloadTakesItsTime(t *testing.T) {
	t.Parallel()
	const size = 1 << 20
	o := storedObject(t, size)
	s, l := &Server{Log: slog.New(slog.DiscardHandler)}, &limits{ResponseRecorder: httptest.NewRecorder()}
	began := time.Now()
	if status := s.send(l, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil), asked{}, o); status != http.StatusOK {
		t.Fatalf("status %d", status)
	}
	if len(l.read) != 1 || !l.read[0].IsZero() {
		t.Errorf("limits of reading: %v, want none", l.read)
	}
	if len(l.write) < 3 || l.written[0] != 0 || l.write[0].Before(began.Add(writeGrace)) {
		t.Fatalf("limits of writing: %v after %v bytes, want one of %s before the first", l.write, l.written, writeGrace)
	}
	last := l.write[len(l.write)-1]
	if took := last.Sub(l.write[0]); took != size/lowestRate*time.Second {
		t.Errorf("%d bytes may take %s more, want %s", size, took, size/lowestRate*time.Second)
	}
	for i, at := range l.write[1:] {
		if at.Before(l.write[i]) {
			t.Errorf("the limits %v shrink", l.write)
		}
	}
}

// TestDownloadThatStandsStill ends: nobody reads what is sent.
func TestDownloadThatStandsStill(t *testing.T) {
	t.Parallel()
	const size = 24 << 20 // more than there is room for on the way
	o := storedObject(t, size)
	s := &Server{Log: slog.New(slog.DiscardHandler), grace: 2 * time.Second, rate: 1 << 40}
	ended := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		s.send(w, r, asked{}, o)
	}))
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("a download that nobody reads goes on")
	}
	if n, err := io.Copy(io.Discard, resp.Body); err == nil || n >= size {
		t.Errorf("%d bytes came, %v", n, err)
	}
}
