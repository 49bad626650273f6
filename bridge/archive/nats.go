package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// natsStore keeps files in an Object Store bucket, which it makes where there is none.
type natsStore struct {
	js       jetstream.JetStream
	bucket   string
	replicas int
	maxBytes int64 // zero: no bound
}

func (s natsStore) put(ctx context.Context, name string, f *download) (string, error) {
	bucket, err := s.open(ctx)
	if err != nil {
		return "", fmt.Errorf("bucket %s: %w", s.bucket, err)
	}
	meta := jetstream.ObjectMeta{Name: name, Headers: nats.Header{events.HeaderContentType: {f.contentType}}}
	if _, err := bucket.Put(ctx, meta, fullReader{f}); err != nil {
		return "", fmt.Errorf("bucket %s: %w", s.bucket, err)
	}
	return events.ObjectRef(s.bucket, name), nil
}

func (s natsStore) open(ctx context.Context) (jetstream.ObjectStore, error) {
	bucket, err := s.js.ObjectStore(ctx, s.bucket)
	if !errors.Is(err, jetstream.ErrBucketNotFound) {
		return bucket, err
	}
	return s.js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
		Bucket: s.bucket, Description: "klingbridge: files of results", Replicas: s.replicas, MaxBytes: s.maxBytes,
	})
}

func (natsStore) close() {} // the connection is the bridge's

// fullReader fills its caller's buffer: the client makes a message of each read, and a connection gives little at a time.
type fullReader struct{ r io.Reader }

func (f fullReader) Read(p []byte) (n int, err error) {
	for n < len(p) && err == nil {
		var m int
		m, err = f.r.Read(p[n:])
		n += m
	}
	return n, err
}

// Subjects are those that an archive in a bucket publishes on, one of each sort.
func Subjects(o Options) []string {
	if !o.InBucket() {
		return nil
	}
	bucket := "$O." + o.Target.bucket
	return []string{bucket + ".C.chunk", bucket + ".M.name"}
}
