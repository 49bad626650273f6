package events

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// ObjectScheme begins a string in a request's body that stands for an entry of a NATS Object Store:
// nats-object://<bucket>/<name>. The bridge replaces it by the base64 of the entry.
const ObjectScheme = "nats-object://"

// ObjectRef returns the reference to an entry of a NATS Object Store.
func ObjectRef(bucket, name string) string { return ObjectScheme + bucket + "/" + name }

// AttachTTL is how long a bucket that [Attach] makes keeps what is put into it: longer than most requests wait.
const AttachTTL = 48 * time.Hour

// AttachMaxBytes bounds a bucket that is made in an account which demands a size and is given none: 1 GiB.
const AttachMaxBytes = 1 << 30

// EnsureBucket makes a NATS Object Store bucket for attachments, with a TTL of [AttachTTL], unless it exists. It holds
// maxBytes at most and then refuses more; with zero it has no bound, or that of [AttachMaxBytes] where the account
// demands one.
func EnsureBucket(ctx context.Context, js jetstream.JetStream, bucket string, maxBytes int64) error {
	_, err := openBucket(ctx, js, bucket, maxBytes)
	return err
}

func openBucket(ctx context.Context, js jetstream.JetStream, bucket string, maxBytes int64) (jetstream.ObjectStore, error) {
	store, err := js.ObjectStore(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		store, err = createBucket(ctx, js, bucket, maxBytes)
	}
	if errors.Is(err, jetstream.ErrBucketExists) { // somebody else was a little faster
		store, err = js.ObjectStore(ctx, bucket)
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return store, nil
}

// codeSizeDemanded is the server's error code for a stream without a size in an account that demands one.
const codeSizeDemanded = 10113

func createBucket(ctx context.Context, js jetstream.JetStream, bucket string, maxBytes int64) (jetstream.ObjectStore, error) {
	config := jetstream.ObjectStoreConfig{
		Bucket: bucket, Description: "inputs of requests to klingbridge", TTL: AttachTTL, MaxBytes: maxBytes,
	}
	store, err := js.CreateObjectStore(ctx, config)
	if refused, ok := errors.AsType[*jetstream.APIError](err); ok && refused.ErrorCode == codeSizeDemanded && maxBytes == 0 {
		config.MaxBytes = AttachMaxBytes
		return js.CreateObjectStore(ctx, config)
	}
	return store, err
}

// Attach puts what r yields into a NATS Object Store bucket and returns the reference to it, which goes into a
// request's body in place of base64: inputs may be larger than a NATS message. What the bucket already has under that
// name is replaced. A bucket that does not exist is made as by [EnsureBucket] without a bound.
//
// A server that has too much in hand refuses what comes (429, error code 10167). Attach then begins anew, some 20 times
// with growing waits unless ctx ends before, where r is an [io.Seeker], such as a file.
func Attach(ctx context.Context, js jetstream.JetStream, bucket, name string, r io.Reader) (ref string, err error) {
	rewind := rewinding(r)
	for try := 1; ; try++ {
		err = put(ctx, js, bucket, name, r)
		if err == nil {
			return ObjectRef(bucket, name), nil
		}
		refused, ok := errors.AsType[*jetstream.APIError](err)
		if !ok || !tooMany(refused) || try == maxPuts || rewind() != nil || wait(ctx, putWait(try)) != nil {
			return "", fmt.Errorf("attach %s: %w", name, err)
		}
	}
}

func put(ctx context.Context, js jetstream.JetStream, bucket, name string, r io.Reader) error {
	store, err := openBucket(ctx, js, bucket, 0)
	if err != nil {
		return err
	}
	if _, err := store.Put(ctx, jetstream.ObjectMeta{Name: name}, r); err != nil {
		return fmt.Errorf("bucket %s: %w", bucket, err)
	}
	return nil
}

const (
	maxPuts    = 20
	maxPutWait = 2 * time.Second
)

// putWait is the wait after the n-th try.
func putWait(n int) time.Duration { return min(retryWait<<min(n-1, 10), maxPutWait) }

// rewinding returns what takes r back to where it stands now.
func rewinding(r io.Reader) func() error {
	seeker, ok := r.(io.Seeker)
	if !ok {
		return func() error { return errors.ErrUnsupported }
	}
	from, err := seeker.Seek(0, io.SeekCurrent)
	return func() error {
		if err != nil { // a pipe
			return err
		}
		_, err := seeker.Seek(from, io.SeekStart)
		return err
	}
}
