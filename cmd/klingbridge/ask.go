package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"github.com/klingbridge/klingbridge/events"
)

// ask lets f ask the bridge on the NATS system that the environment names.
func (p *program) ask(ctx context.Context, f func(*events.Client) error) error {
	settings, err := p.settings(false)
	if err != nil {
		return err
	}
	nc, err := connect(ctx, settings)
	if err != nil {
		return err
	}
	defer nc.Close()
	client, err := nc.client(settings.subjects)
	if err != nil {
		return err
	}
	return explained(f(client))
}

// explained says what to look at when nobody answers, and takes what the bridge calls wrong input for wrong usage.
func explained(err error) error {
	if errors.Is(err, events.ErrNoAnswer) {
		return fmt.Errorf("%w; is it running with the same BRIDGE_SUBJECT_PREFIX?", err)
	}
	refusal, ok := errors.AsType[*events.APIError](err)
	switch {
	case !ok:
		return err
	case refusal.Code == http.StatusBadRequest:
		return usageError{errors.New(refusal.Message)}
	default:
		return errors.New(refusal.Message) // its code is for programs
	}
}

// askEach asks about each id and goes on after a refusal, which fails the command in the end.
func (p *program) askEach(ctx context.Context, ids []string, ask func(c *events.Client, id string) error) error {
	return p.ask(ctx, func(c *events.Client) error {
		var failed error
		for _, id := range ids {
			err := ask(c, id)
			refusal, refused := errors.AsType[*events.APIError](err)
			if err != nil && !refused {
				return err
			}
			if refused {
				fmt.Fprintf(p.stderr, "klingbridge: %s\n", printable(refusal.Message))
				failed = errSilent
			}
		}
		return failed
	})
}

// printJSON prints a value on one line.
func (p *program) printJSON(v any) error {
	enc := json.NewEncoder(p.stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
