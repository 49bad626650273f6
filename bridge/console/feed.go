package console

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

// maxWatchers bounds the open pages.
const maxWatchers = 64

// feed tells every open page the newest news. A page that is slow misses what was replaced meanwhile.
type feed struct {
	opened chan struct{} // is signalled when a page opens

	mu       sync.Mutex
	watchers map[chan []byte]struct{}
	newest   []byte // nil: nothing yet
}

func newFeed() *feed {
	return &feed{opened: make(chan struct{}, 1), watchers: map[chan []byte]struct{}{}}
}

func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers) > 0
}

// watch returns a channel that always holds the newest news that were not yet received from it.
func (f *feed) watch() (news <-chan []byte, leave func(), err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.watchers) >= maxWatchers {
		return nil, nil, fmt.Errorf("%d pages are open, which is all there may be", maxWatchers)
	}
	ch := make(chan []byte, 1)
	if f.newest != nil {
		ch <- f.newest
	}
	f.watchers[ch] = struct{}{}
	select {
	case f.opened <- struct{}{}:
	default:
	}
	return ch, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.watchers, ch)
	}, nil
}

// tell replaces the news, where they differ.
func (f *feed) tell(data []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if bytes.Equal(data, f.newest) {
		return
	}
	f.newest = data
	for ch := range f.watchers {
		select {
		case <-ch: // was not taken in time
		default:
		}
		ch <- data
	}
}

func (f *feed) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.newest = nil
}

const (
	// aliveInterval is how often a silent stream shows that it lives, for proxies and for the page.
	aliveInterval = 15 * time.Second
	writeTime     = 10 * time.Second // for one message to a page
)

// serveLive streams the news as server-sent events until the page goes.
func (s *session) serveLive(w http.ResponseWriter, r *http.Request) error {
	news, leave, err := s.feed.watch()
	if err != nil {
		return &answerError{http.StatusServiceUnavailable, err.Error()}
	}
	defer leave()
	stream := http.NewResponseController(w)
	if err := stream.SetReadDeadline(time.Time{}); err != nil { // the server's would end the stream
		return err
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	alive := time.NewTicker(aliveInterval)
	defer alive.Stop()
	message := []byte("retry: 1000\n\n")
	for {
		err := errors.Join(stream.SetWriteDeadline(time.Now().Add(writeTime)), write(w, message), stream.Flush())
		if err != nil {
			return nil // the page is gone
		}
		select {
		case <-r.Context().Done():
			return nil
		case data := <-news:
			message = fmt.Appendf(nil, "data: %s\n\n", data)
		case <-alive.C:
			message = []byte("event: alive\ndata: {}\n\n")
		}
	}
}

func write(w http.ResponseWriter, data []byte) error {
	_, err := w.Write(data)
	return err
}
