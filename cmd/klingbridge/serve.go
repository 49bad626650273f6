package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge"
)

// readyInterval is how often a starting bridge is asked whether it is ready.
const readyInterval = 50 * time.Millisecond

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the bridge",
		Long: `Run the bridge until SIGINT or SIGTERM. It is configured by its environment alone: see "klingbridge help environment".
Without NATS_URL it runs a NATS server of its own and keeps everything in BRIDGE_DATA_DIR.`,
		Example: "  KLING_API_KEY=… BRIDGE_PUBLIC_URL=https://bridge.example.com klingbridge serve",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := p.settings(true)
			if err != nil {
				return err
			}
			l, err := listen(cmd.Context(), s)
			if err != nil {
				return err
			}
			return p.serve(cmd.Context(), s, l)
		},
	}
}

// listeners are the bridge's two, opened before anything else, so that addresses in use are known at once.
type listeners struct {
	callback, admin net.Listener
}

func listen(ctx context.Context, s settings) (listeners, error) {
	callback, err := listenOn(ctx, "callback listener", "BRIDGE_CALLBACK_ADDR", s.CallbackAddr)
	admin, adminErr := listenOn(ctx, "admin listener", "BRIDGE_ADMIN_ADDR", s.AdminAddr)
	l := listeners{callback: callback, admin: admin}
	if err := errors.Join(err, adminErr, embeddedTaken(ctx, s)); err != nil {
		l.close()
		if errors.Is(err, syscall.EADDRINUSE) {
			err = fmt.Errorf("%w\nis one running already? \"klingbridge doctor\" looks at it", err)
		}
		return listeners{}, err
	}
	return l, nil
}

// listenOn says which variable leads elsewhere.
func listenOn(ctx context.Context, what, variable, addr string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w; set %s to another address", what, err, variable)
	}
	return l, nil
}

// embeddedTaken is an error where something listens already at the address of the embedded NATS server: that itself would say
// it as the last of all, and know no variable.
func embeddedTaken(ctx context.Context, s settings) error {
	if !busOptions(s).Embedded() || portUnknown(s.EmbeddedAddr) {
		return nil
	}
	l, err := listenOn(ctx, "embedded NATS server", "BRIDGE_EMBEDDED_ADDR", s.EmbeddedAddr)
	if err != nil {
		return fmt.Errorf("%w, or NATS_URL to a NATS server that runs", err)
	}
	return l.Close()
}

func (l listeners) close() {
	for _, listener := range []net.Listener{l.callback, l.admin} {
		if listener != nil {
			_ = listener.Close() // the bridge has usually closed it
		}
	}
}

// serve runs a bridge on these listeners until ctx ends.
func (p *program) serve(ctx context.Context, s settings, l listeners) error {
	defer l.close()
	t, err := setupTelemetry(ctx, p.environ, s.log)
	if err != nil {
		return err
	}
	defer t.stop()
	s.log = t.log
	opts, err := bridgeOptions(s)
	if err != nil {
		return err
	}
	defer func() {
		for _, account := range opts.Accounts {
			account.Client.Close()
		}
	}()
	opts.CallbackListener, opts.AdminListener = l.callback, l.admin
	opts.MeterProvider, opts.Metrics, opts.Propagator = t.meters, t.metrics, t.propagator
	b, err := bridge.New(opts)
	if err != nil {
		return err
	}
	p.notifySupervisor(t.log, "READY=1") // its listeners are open: what it waits for is told by readiness
	ended, end := context.WithCancel(ctx)
	var stopping sync.WaitGroup
	stopping.Go(func() {
		<-ended.Done()
		p.notifySupervisor(t.log, "STOPPING=1")
	})
	err = b.Run(ctx)
	end()
	stopping.Wait()
	if err != nil && strings.Contains(err.Error(), dirInUse) {
		return fmt.Errorf("%w (BRIDGE_DATA_DIR; a second one also needs BRIDGE_EMBEDDED_ADDR)", err)
	}
	return err
}

// dirInUse is how the embedded server says that its store belongs to a running process. That error has no type.
const dirInUse = "is in use by another klingbridge"

// waitReady returns true once the bridge answers that it is ready, false when ctx ends first.
func waitReady(ctx context.Context, l listeners) bool {
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for !isReady(ctx, l) {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

func isReady(ctx context.Context, l listeners) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, localURL(l.admin.Addr())+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	request.Close = true // there is nobody to end an idle connection
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// freeAddr is a loopback address that nobody listened on a moment ago.
func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
