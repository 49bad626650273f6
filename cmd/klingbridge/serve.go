package main

import (
	"context"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"github.com/klingbridge/klingbridge/bridge"
)

func (p *program) serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run the bridge",
		Long: `Run the bridge until SIGINT or SIGTERM. It is configured by its environment alone: see "klingbridge help environment".
Without NATS_URL it runs a NATS server of its own and keeps everything in BRIDGE_DATA_DIR.`,
		Example: "  KLING_API_KEY=… BRIDGE_PUBLIC_URL=https://bridge.example.com klingbridge serve",
		Args:    cobra.NoArgs,
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

// listeners are the bridge's two, opened before anything else, so that an address in use is known at once.
type listeners struct {
	callback, admin net.Listener
}

func listen(ctx context.Context, s settings) (listeners, error) {
	var l listeners
	var err error
	if l.callback, err = new(net.ListenConfig).Listen(ctx, "tcp", s.CallbackAddr); err != nil {
		return l, fmt.Errorf("callback listener (BRIDGE_CALLBACK_ADDR): %w", err)
	}
	if l.admin, err = new(net.ListenConfig).Listen(ctx, "tcp", s.AdminAddr); err != nil {
		_ = l.callback.Close()
		return l, fmt.Errorf("admin listener (BRIDGE_ADMIN_ADDR): %w", err)
	}
	return l, nil
}

func (l listeners) close() {
	_ = l.callback.Close() // the bridge has usually closed them
	_ = l.admin.Close()
}

// serve runs a bridge on these listeners until ctx ends.
func (p *program) serve(ctx context.Context, s settings, l listeners) error {
	defer l.close()
	stop, err := setupTelemetry(ctx, p.environ, s.log)
	if err != nil {
		return err
	}
	defer stop()
	opts, err := bridgeOptions(s)
	if err != nil {
		return err
	}
	defer opts.Kling.Close()
	opts.CallbackListener, opts.AdminListener = l.callback, l.admin
	b, err := bridge.New(opts)
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// freeAddr is a loopback address that nobody listened on a moment ago.
func freeAddr(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}
