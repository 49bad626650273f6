package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Batch says which messages [Bus.ReadBatch] reads.
type Batch struct {
	Subject string    // a literal or a filter with wildcards
	Seq     uint64    // the first one is at or after it; used when Since is zero
	Since   time.Time // the first one was stored then or later
	Limit   int       // messages at most, above zero
}

// ReadBatch returns the first messages of a batch in order, and how many match after them. It reads without a consumer
// and so leaves no trace on the server. A follower that is behind may answer. The stream must allow direct gets.
func (b *Bus) ReadBatch(ctx context.Context, stream string, batch Batch) (msgs []*Message, left uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	query := map[string]any{"next_by_subj": batch.Subject, "batch": batch.Limit}
	if batch.Since.IsZero() {
		query["seq"] = max(batch.Seq, 1)
	} else {
		query["start_time"] = batch.Since.UTC()
	}
	payload, err := json.Marshal(query)
	if err != nil {
		return nil, 0, err
	}
	inbox := b.nc.NewRespInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, 0, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only with the connection
	if err := b.nc.PublishRequest(jetstream.DefaultAPIPrefix+"DIRECT.GET."+stream, inbox, payload); err != nil {
		return nil, 0, err
	}
	for {
		reply, err := sub.NextMsgWithContext(ctx)
		if errors.Is(err, nats.ErrNoResponders) {
			err = jetstream.ErrStreamNotFound
		}
		if err != nil {
			return nil, 0, fmt.Errorf("read from stream %s: %w", stream, err)
		}
		status := reply.Header.Get("Status")
		switch {
		case reply.Header.Get(jetstream.SequenceHeader) != "": // a message, whatever else its own headers say
			m, err := directMessage(reply)
			if err != nil {
				return nil, 0, fmt.Errorf("read from stream %s: %w", stream, err)
			}
			msgs = append(msgs, m)
		case status == "204" || status == "404": // the end of a batch, or of an empty one
			left, _ := strconv.ParseUint(reply.Header.Get("Nats-Num-Pending"), 10, 64)
			return msgs, left, nil
		default:
			return nil, 0, fmt.Errorf("read from stream %s: %s %s", stream, status, reply.Header.Get("Description"))
		}
	}
}

// directMessage undoes what a direct get does to a message: what was stored, and where, comes in its headers.
func directMessage(reply *nats.Msg) (*Message, error) {
	m := &Message{Subject: reply.Header.Get(jetstream.SubjectHeader), Header: reply.Header, Data: reply.Data}
	var err error
	if m.Seq, err = strconv.ParseUint(reply.Header.Get(jetstream.SequenceHeader), 10, 64); err != nil {
		return nil, err
	}
	m.Time, err = time.Parse(time.RFC3339Nano, reply.Header.Get(jetstream.TimeStampHeaer))
	return m, err
}
