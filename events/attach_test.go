package events_test

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// busyServer refuses what is put into its buckets, in the middle, so many times. Recorded: "nats: API error: code=429
// err_code=10167 description=too many requests" for 50 MiB put at once.
type busyServer struct {
	jetstream.JetStream
	refusals int
	refused  func()
}

// ObjectStore implements [jetstream.ObjectStoreManager].
func (b *busyServer) ObjectStore(ctx context.Context, bucket string) (jetstream.ObjectStore, error) {
	store, err := b.JetStream.ObjectStore(ctx, bucket)
	return busyStore{store, b}, err
}

type busyStore struct {
	jetstream.ObjectStore
	*busyServer
}

// Put implements [jetstream.ObjectStore].
func (s busyStore) Put(ctx context.Context, meta jetstream.ObjectMeta, r io.Reader) (*jetstream.ObjectInfo, error) {
	if s.refusals == 0 {
		return s.ObjectStore.Put(ctx, meta, r)
	}
	s.refusals--
	s.refused()
	if _, err := io.CopyN(io.Discard, r, 4); err != nil {
		return nil, err
	}
	return nil, &jetstream.APIError{Code: 429, ErrorCode: 10167, Description: "too many requests"}
}

// TestAttachToABusyServer begins anew where what is attached can be read again.
func TestAttachToABusyServer(t *testing.T) {
	js := setupEmpty(t).js
	busy := &busyServer{JetStream: js, refused: func() {}}
	client, err := events.NewClientFor(busy, events.Subjects{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Attach(t.Context(), events.Attachment{}, strings.NewReader("makes the bucket")); err != nil {
		t.Fatal(err)
	}
	busy.refusals = 2
	file := strings.NewReader("before, and what is attached")
	if _, err := file.Seek(8, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	ref, err := client.Attach(t.Context(), events.Attachment{Name: "a"}, file)
	if err != nil || ref != "nats-object://kling-inputs/a" {
		t.Fatalf("%q, %v", ref, err)
	}
	store, err := js.ObjectStore(t.Context(), "kling-inputs")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := store.GetString(t.Context(), "a"); got != "and what is attached" {
		t.Errorf("stored %q, %v", got, err)
	}

	busy.refusals = 2
	if _, err := client.Attach(t.Context(), events.Attachment{Name: "b"}, io.LimitReader(strings.NewReader("a pipe"), 9)); err == nil || busy.refusals != 1 {
		t.Errorf("a reader that can't go back: %v, %d refusals left", err, busy.refusals)
	}
	ctx, cancel := context.WithCancel(t.Context())
	busy.refusals, busy.refused = 2, cancel
	if _, err := client.Attach(ctx, events.Attachment{Name: "c"}, strings.NewReader("whatever")); err == nil || busy.refusals != 1 {
		t.Errorf("whose context ends: %v, %d refusals left", err, busy.refusals)
	}
}
