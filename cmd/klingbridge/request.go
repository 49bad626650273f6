package main

import (
	"context"
	"encoding/json"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

// request is one that a command is to publish.
type request struct {
	kind string
	body json.RawMessage
	events.Options
}

// msg is the request as a message, or says what of it is wrong.
func (r request) msg(s events.Subjects) (*nats.Msg, error) {
	return events.NewRequest(s, body.Raw(r.kind, r.body), r.Options)
}

func (r request) submit(ctx context.Context, client *events.Client) (id string, err error) {
	return client.Submit(ctx, body.Raw(r.kind, r.body), r.Options)
}
