package events

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// ObjectScheme begins a string in a request's body that stands for an entry of a NATS Object Store:
// nats-object://<bucket>/<name>. The bridge replaces it by the base64 of the entry, or in a field named url or *_url, unless the
// entry is an image, by a URL that Kling gets it from.
const ObjectScheme = "nats-object://"

// ObjectRef returns the reference to an entry of a NATS Object Store.
func ObjectRef(bucket, name string) string { return ObjectScheme + bucket + "/" + name }

// DefaultBucket is where [Client.Attach] puts what names no bucket.
const DefaultBucket = "kling-inputs"

// AttachTTL is how long a bucket that [Client.Attach] makes keeps what is put into it: longer than most requests wait.
const AttachTTL = 48 * time.Hour

// AttachMaxBytes bounds a bucket that is made in an account which demands a size and is given none: 1 GiB.
const AttachMaxBytes = 1 << 30

// Attachment says where in the NATS Object Store an attachment goes. The zero value will do.
type Attachment struct {
	// Name of the entry. What the bucket already has under that name is replaced. Empty: a new one is generated.
	Name string
	// ContentType of the entry, which tells the bridge images, sent as base64, from what Kling takes by URL only. Empty: that of
	// the extension of Name, or else none: the first bytes tell then.
	ContentType string
	// Bucket is made where there is none, with a TTL of [AttachTTL]. Empty: [DefaultBucket].
	Bucket string
	// BucketMaxBytes bounds a bucket that has to be made: it then refuses more. Zero: no bound, or that of
	// [AttachMaxBytes] where the account demands one.
	BucketMaxBytes int64
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
// request's body in place of base64: inputs may be larger than a NATS message.
//
// A server that has too much in hand refuses what comes (429, error code 10167). Attach then begins anew, some 20 times
// with growing waits unless ctx ends before, where r is an [io.Seeker], such as a file.
func (c *Client) Attach(ctx context.Context, a Attachment, r io.Reader) (ref string, err error) {
	a.Name, a.Bucket = cmp.Or(a.Name, nuid.Next()), cmp.Or(a.Bucket, DefaultBucket)
	rewind := rewinding(r)
	for try := 1; ; try++ {
		err = put(ctx, c.js, a, r)
		if err == nil {
			return ObjectRef(a.Bucket, a.Name), nil
		}
		refused, ok := errors.AsType[*jetstream.APIError](err)
		if !ok || !tooMany(refused) || try == maxPuts || rewind() != nil || wait(ctx, putWait(try)) != nil {
			return "", fmt.Errorf("attach %s: %w", a.Name, err)
		}
	}
}

func put(ctx context.Context, js jetstream.JetStream, a Attachment, r io.Reader) error {
	store, err := openBucket(ctx, js, a.Bucket, a.BucketMaxBytes)
	if err != nil {
		return err
	}
	meta := jetstream.ObjectMeta{Name: a.Name}
	if contentType := cmp.Or(a.ContentType, MediaType(a.Name)); contentType != "" {
		meta.Headers = nats.Header{HeaderContentType: {contentType}}
	}
	if _, err := store.Put(ctx, meta, r); err != nil {
		return fmt.Errorf("bucket %s: %w", a.Bucket, err)
	}
	return nil
}

// mediaTypes has the files that Kling takes, by their extension.
var mediaTypes = map[string]string{
	".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".mp4": "video/mp4", ".mov": "video/quicktime",
	".mp3": "audio/mpeg", ".wav": "audio/wav", ".m4a": "audio/mp4", ".aac": "audio/aac",
}

// MediaType is the content type of a file that Kling takes, by the extension of its name; empty: it is none of those.
func MediaType(name string) string { return mediaTypes[strings.ToLower(path.Ext(name))] }

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
