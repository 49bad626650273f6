package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout is below what container engines wait for a health check by default, 30 s.
const healthTimeout = 5 * time.Second

// healthcheckCommand is for container engines: the image has no shell and no other program that could ask.
func (p *program) healthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "healthcheck",
		Short:  "Ask the bridge at BRIDGE_ADMIN_ADDR whether it works, for a container's health check",
		Hidden: true,
		Args:   noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := p.settings(false)
			if err != nil {
				return err
			}
			url := adminURL(s) + "/healthz"
			return p.patiently("waiting for "+url, func() error { return checkHealth(cmd.Context(), url) })
		},
	}
}

func checkHealth(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	request.Close = true // there is nobody to end an idle connection
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(response.Body, 512)) // it only adds to what is said
		return fmt.Errorf("%s: %s %s", url, response.Status, body)
	}
	return nil
}
