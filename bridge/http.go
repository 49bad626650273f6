package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/listener"
)

// web runs the two HTTP servers.
type web struct {
	callbacks *http.Server
	admin     *http.Server
	serving   sync.WaitGroup
	handling  handling
}

// Limits of a connection on either listener.
const (
	headerTime     = 2 * time.Second
	exchangeTime   = 10 * time.Second // for a whole request to the admin listener, and for any answer
	idleTime       = 90 * time.Second
	maxHeaderBytes = 16 << 10
)

// startWeb serves both listeners; failed is told when one of them breaks.
func (b *Bridge) startWeb(failed context.CancelCauseFunc) *web {
	w := &web{}
	w.callbacks = b.newServer(w.handling.count(http.HandlerFunc(b.serveKling)), callback.CallbackReadTime)
	w.admin = b.newServer(w.handling.count(b.admin.handler()), exchangeTime)
	w.callbacks.TLSConfig = b.opts.CallbackTLS
	w.callbacks.Protocols = allProtocols()
	w.callbacks.HTTP2 = http2Limits()
	w.callbacks.ConnContext = listener.WithCaller
	w.serving.Go(func() {
		err := w.serveCallbacks(listener.New(b.opts.CallbackListener, b.opts.Connections, b.log))
		if !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("callback listener %s: %w", b.opts.CallbackListener.Addr(), err))
		}
	})
	w.serving.Go(func() {
		err := w.admin.Serve(b.opts.AdminListener)
		if !errors.Is(err, http.ErrServerClosed) {
			failed(fmt.Errorf("admin listener %s: %w", b.opts.AdminListener.Addr(), err))
		}
	})
	return w
}

// serveKling serves what Kling asks of the callback listener: callbacks, and files.
func (b *Bridge) serveKling(w http.ResponseWriter, r *http.Request) {
	if b.files.Serves(r) {
		b.files.ServeHTTP(w, r)
		return
	}
	b.receiver.ServeHTTP(w, r)
}

func (w *web) serveCallbacks(l net.Listener) error {
	if w.callbacks.TLSConfig != nil {
		return w.callbacks.ServeTLS(l, "", "")
	}
	return w.callbacks.Serve(l)
}

// allProtocols lets Kling, or a proxy in front, choose. HTTP/2 without TLS is begun knowing it: no upgrade leads there.
func allProtocols() *http.Protocols {
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(true)
	return p
}

// http2Limits bounds what a connection may take up. A frame has its memory before it has come: by default that is 1 MiB for
// whoever announces as much.
func http2Limits() *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxConcurrentStreams:          100,
		MaxReadFrameSize:              16 << 10, // the least there is
		MaxReceiveBufferPerConnection: callback.MaxCallbackBytes,
		MaxReceiveBufferPerStream:     64 << 10,
		WriteByteTimeout:              exchangeTime,
	}
}

func (b *Bridge) newServer(h http.Handler, readTime time.Duration) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       readTime,
		WriteTimeout:      exchangeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,

		DisableGeneralOptionsHandler: true, // "OPTIONS *" is as wrong as any other URL
		ErrorLog:                     slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
	}
}

// stopCallbacks lets the callbacks under way be answered and takes no more. It may be called twice.
func (w *web) stopCallbacks(timeout time.Duration) {
	shutdown(w.callbacks, timeout)
}

// stop stops both servers and waits for them. The connection to NATS is closed by then, so that what is still being
// handled ends soon.
func (w *web) stop(timeout time.Duration) {
	w.stopCallbacks(timeout)
	shutdown(w.admin, timeout)
	w.serving.Wait()
	w.handling.wait()
}

func shutdown(s *http.Server, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		_ = s.Close() // what is left did not end in time
	}
}

// handling counts the requests in hand: a server that is closed does not wait for its handlers.
type handling struct {
	mu     sync.Mutex // orders the first of a count with the wait
	ended  bool
	inHand sync.WaitGroup
}

// count wraps a handler.
func (h *handling) count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.begin() {
			callback.Answer(w, r, http.StatusServiceUnavailable)
			return
		}
		defer h.inHand.Done()
		next.ServeHTTP(w, r)
	})
}

func (h *handling) begin() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.ended {
		h.inHand.Add(1)
	}
	return !h.ended
}

// wait lets no further request in and returns when none is in hand.
func (h *handling) wait() {
	h.mu.Lock()
	h.ended = true
	h.mu.Unlock()
	h.inHand.Wait()
}
