package kling

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
)

// sent watches the body of a request, whose size counts once the transport has closed it: that may be after the answer. Both
// metrics are recorded then, once.
//
// Safe for concurrent use.
type sent struct {
	of   *exchanges
	mu   sync.Mutex // guards what follows
	body *sentBody  // that is sent now; nil: none
	done func()     // records; nil: there is no answer yet, or it has
}

// sentBody counts what is read of a body.
type sentBody struct {
	io.ReadCloser
	all    *sent
	size   int64 // guarded by all.mu
	closed bool
}

// watchBody puts a watch on the body of a request of ours, and on those that it is sent with again.
func (e *exchanges) watchBody(r *http.Request) *sent {
	s := &sent{of: e}
	if r.Body == nil || r.Body == http.NoBody {
		return s
	}
	s.body = &sentBody{ReadCloser: r.Body, all: s}
	r.Body = s.body
	if again := r.GetBody; again != nil {
		r.GetBody = func() (io.ReadCloser, error) { return s.again(again) }
	}
	return s
}

func (s *sent) again(body func() (io.ReadCloser, error)) (io.ReadCloser, error) {
	next, err := body()
	var watched *sentBody
	if err == nil && next != nil && next != http.NoBody {
		watched = &sentBody{ReadCloser: next, all: s}
	}
	if err == nil && watched == nil {
		return next, nil
	}
	s.mu.Lock()
	s.body = watched
	s.mu.Unlock()
	if watched == nil { // it is not sent again
		return nil, err
	}
	return watched, nil
}

// answered is told of the answer, or that there is none.
func (s *sent) answered(ctx context.Context, took time.Duration, options []metric.RecordOption) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done = func() {
		size := int64(0)
		if s.body != nil {
			size = s.body.size
		}
		s.of.size.Record(ctx, size, options...)
		s.of.duration.Record(ctx, took.Seconds(), options...)
	}
	s.settle()
}

// settle records if all is known. The caller holds mu.
func (s *sent) settle() {
	if s.done == nil || s.body != nil && !s.body.closed {
		return
	}
	s.done()
	s.done = nil
}

// Read implements [io.Reader].
func (b *sentBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.all.mu.Lock()
	b.size += int64(n)
	b.all.mu.Unlock()
	return n, err
}

// Close implements [io.Closer].
func (b *sentBody) Close() error {
	b.all.mu.Lock()
	b.closed = true
	b.all.settle()
	b.all.mu.Unlock()
	return b.ReadCloser.Close()
}
