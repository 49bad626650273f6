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

	"golang.org/x/net/netutil"
)

// web runs the two HTTP servers.
type web struct {
	callbacks *http.Server
	admin     *http.Server
	serving   sync.WaitGroup
}

// Limits of a connection on either listener.
const (
	headerTime     = 2 * time.Second
	exchangeTime   = 10 * time.Second // for a whole request, and for its answer
	idleTime       = 90 * time.Second
	maxConnections = 2048 // on the callback listener
	maxHeaderBytes = 16 << 10
)

// startWeb serves both listeners; failed is told when one of them breaks.
func (b *Bridge) startWeb(failed context.CancelCauseFunc) *web {
	w := &web{callbacks: b.newServer(b.receiver), admin: b.newServer(b.admin.handler())}
	w.callbacks.TLSConfig = b.opts.CallbackTLS
	w.serving.Go(func() {
		err := w.serveCallbacks(b.opts.CallbackListener)
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

func (w *web) serveCallbacks(l net.Listener) error {
	l = netutil.LimitListener(l, maxConnections)
	if w.callbacks.TLSConfig != nil {
		return w.callbacks.ServeTLS(l, "", "")
	}
	return w.callbacks.Serve(l)
}

func (b *Bridge) newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       exchangeTime,
		WriteTimeout:      exchangeTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(b.log.Handler(), slog.LevelDebug),
	}
}

// stopCallbacks lets the callbacks under way be answered and takes no more. It may be called twice.
func (w *web) stopCallbacks(timeout time.Duration) {
	shutdown(w.callbacks, timeout)
}

// stop stops both servers and waits for them.
func (w *web) stop(timeout time.Duration) {
	w.stopCallbacks(timeout)
	shutdown(w.admin, timeout)
	w.serving.Wait()
}

func shutdown(s *http.Server, timeout time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		_ = s.Close() // what is left did not end in time
	}
}
