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
func (p *program) ask(ctx context.Context, f func(context.Context, *events.Client) error) error {
	return p.askMore(ctx, func(ctx context.Context, c *events.Client) error {
		return p.patiently(forAnswer, func() error { return f(ctx, c) })
	})
}

// askMore is ask for more than one question, each of which is the caller's to be patient with.
func (p *program) askMore(ctx context.Context, f func(context.Context, *events.Client) error) error {
	settings, err := p.settings(false)
	if err != nil {
		return err
	}
	return p.onNATS(ctx, settings, need{}, func(ctx context.Context, nc *link) error {
		return explained(f(ctx, nc.client))
	})
}

// forAnswer is what a question waits for.
const forAnswer = "waiting for the bridge's answer"

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
func (p *program) askEach(ctx context.Context, ids []string, ask func(ctx context.Context, c *events.Client, id string) error) error {
	return p.askMore(ctx, func(ctx context.Context, c *events.Client) error {
		var failed error
		for _, id := range ids {
			err := p.patiently(forAnswer, func() error { return ask(ctx, c, id) })
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
