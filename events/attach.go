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

// Attach puts what r yields into a NATS Object Store bucket and returns the reference to it, which goes into a
// request's body in place of base64: inputs may be larger than a NATS message. What the bucket already has under that
// name is replaced. A bucket that does not exist is made, with a TTL of [AttachTTL].
func Attach(ctx context.Context, js jetstream.JetStream, bucket, name string, r io.Reader) (ref string, err error) {
	store, err := js.ObjectStore(ctx, bucket)
	if errors.Is(err, jetstream.ErrBucketNotFound) {
		store, err = js.CreateObjectStore(ctx, jetstream.ObjectStoreConfig{
			Bucket: bucket, Description: "inputs of requests to klingbridge", TTL: AttachTTL,
		})
	}
	if errors.Is(err, jetstream.ErrBucketExists) { // somebody else was a little faster
		store, err = js.ObjectStore(ctx, bucket)
	}
	if err != nil {
		return "", fmt.Errorf("attach %s: bucket %s: %w", name, bucket, err)
	}
	if _, err := store.Put(ctx, jetstream.ObjectMeta{Name: name}, r); err != nil {
		return "", fmt.Errorf("attach %s: bucket %s: %w", name, bucket, err)
	}
	return ObjectRef(bucket, name), nil
}
