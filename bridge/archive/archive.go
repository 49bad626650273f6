package archive

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// Options says where files go and which may be fetched. The zero value is no archive.
type Options struct {
	Target   Target
	Allow    Hosts // may be fetched by plain http and at addresses that are not public
	MaxBytes int64 // of one file; zero: 2 GiB
	// ReadTimeout is how long the source may send nothing; zero: 30s. A whole file may take any time.
	ReadTimeout time.Duration
	// Replicas of a NATS bucket that is made; zero: 1.
	Replicas int
	// BucketBytes bounds a NATS bucket that is made; a full one refuses more. Zero: no bound.
	BucketBytes int64
}

// InBucket reports whether the archive is a bucket of the NATS system.
func (o Options) InBucket() bool { return o.Target.scheme == "nats" }

// Enabled reports whether there is an archive.
func (o Options) Enabled() bool { return o.Target != Target{} }

const (
	defaultMaxBytes    = 2 << 30
	defaultReadTimeout = 30 * time.Second
)

// ErrRefused marks a file that will not be fetched however often it is tried: its URL leads where nothing is fetched
// from, or it is too large.
var ErrRefused = errors.New("refused")

// Archive copies files to one place. It may be used concurrently.
type Archive struct {
	source *source
	store  store
}

// store keeps files under names such as text2video/2026-10-01/order-42/1.mp4.
type store interface {
	// put stores what f yields, whole or not at all, in place of what has that name, and returns its URL.
	put(ctx context.Context, name string, f *download) (url string, err error)
	close()
}

// New opens an archive. It asks nobody whether the place is there: that may change while the archive is in use.
func New(o Options, js jetstream.JetStream) (*Archive, error) {
	if o.MaxBytes == 0 {
		o.MaxBytes = defaultMaxBytes
	}
	if o.ReadTimeout == 0 {
		o.ReadTimeout = defaultReadTimeout
	}
	store, err := o.open(js)
	if err != nil {
		return nil, fmt.Errorf("archive: %w", err)
	}
	return &Archive{source: newSource(o), store: store}, nil
}

// Close closes idle connections.
func (a *Archive) Close() {
	a.source.close()
	a.store.close()
}

// Copy copies one file. To copy it again overwrites it under the same name. An error is [ErrRefused], or else worth
// another try. It does not quote the URL, whose query is a key to the file.
func (a *Archive) Copy(ctx context.Context, f File) (events.ArchivedFile, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	d, err := a.source.open(ctx, f)
	if err != nil {
		return events.ArchivedFile{}, fmt.Errorf("fetch file %d: %w", f.Number, err)
	}
	defer d.close()
	d.stalled = time.AfterFunc(stallTimeout, func() { cancel(errStalled) })
	at, err := a.store.put(ctx, f.name(d.contentType), d)
	if err := d.verify(ctx, err); err != nil {
		return events.ArchivedFile{}, fmt.Errorf("archive file %d: %w", f.Number, err)
	}
	return events.ArchivedFile{
		SourceURL: f.URL, ArchiveURL: at, Bytes: d.read, SHA256: d.sum(), ContentType: d.contentType,
	}, nil
}
