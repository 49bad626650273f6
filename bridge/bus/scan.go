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

// maxBatchBytes bounds what one batch brings into memory, give or take a message.
const maxBatchBytes = 4 << 20

// Scan calls yield for every message on subject with sequence from or a later one, oldest first, until it returns false
// or the stream ends. batch is how many messages are asked for at a time: about as many as the caller wants.
//
// The stream must allow direct gets. They make no consumer, which a stream of work would not allow, and are answered by
// any of its replicas; what that one does not know yet is read from the leader.
func (b *Bus) Scan(
	ctx context.Context, stream, subject string, from uint64, batch int, yield func(*Message) bool,
) error {
	for {
		next, more, err := b.scanBatch(ctx, stream, subject, from, batch, yield)
		if err != nil || !more {
			return err
		}
		m, err := b.Next(ctx, stream, subject, next)
		if errors.Is(err, ErrNoMessage) {
			return nil
		}
		if err != nil {
			return err
		}
		if !yield(m) {
			return nil
		}
		from = m.Seq + 1
	}
}

// scanBatch reads one batch. It ends early at a message whose headers the client can't read, for [Bus.Next] to take.
func (b *Bus) scanBatch(
	ctx context.Context, stream, subject string, from uint64, batch int, yield func(*Message) bool,
) (next uint64, more bool, err error) {
	next, more = max(from, 1), true
	query := directQuery{From: next, Subject: subject, Batch: batch, MaxBytes: maxBatchBytes}
	_, err = b.direct(ctx, stream, query, func(msg *nats.Msg) bool {
		m, ok := decodeDirect(msg, addedByServer[:])
		if !ok || m.Seq < next {
			return false
		}
		next, more = m.Seq+1, yield(m)
		return more
	})
	return next, more, err
}

// NewestFrom returns a sequence such that about n messages on subject, or all there are, lie between it and before: at
// least n and at most 2 n, unless the stream changes meanwhile. Together with [Bus.Scan] it reads a stream backwards.
func (b *Bus) NewestFrom(ctx context.Context, stream, subject string, before uint64, n int) (from uint64, err error) {
	after, err := b.CountFrom(ctx, stream, subject, before)
	if err != nil {
		return 0, err
	}
	count := func(from uint64) (uint64, error) {
		total, err := b.CountFrom(ctx, stream, subject, from)
		return total - min(after, total), err
	}
	want := uint64(n)
	tooFew, width := before, want // there are fewer than n from tooFew on
	var found uint64
	for {
		from = before - min(width, before-1)
		if found, err = count(from); err != nil || from == 1 || found >= want {
			break
		}
		tooFew, width = from, 4*width
	}
	for err == nil && found > 2*want && tooFew-from > 1 {
		middle := from + (tooFew-from)/2
		var above uint64
		if above, err = count(middle); above < want {
			tooFew = middle
		} else {
			from, found = middle, above
		}
	}
	return from, err
}

// CountFrom returns how many messages on subject have sequence from or a later one. It costs the transfer of one.
func (b *Bus) CountFrom(ctx context.Context, stream, subject string, from uint64) (uint64, error) {
	seen := uint64(0)
	end, err := b.direct(ctx, stream, directQuery{From: from, Subject: subject, Batch: 1}, func(*nats.Msg) bool {
		seen++
		return true
	})
	if err != nil || seen == 0 {
		return 0, err
	}
	pending, err := strconv.ParseUint(end.Header.Get("Nats-Num-Pending"), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("count messages of stream %s: %w", stream, err)
	}
	return seen + pending, nil
}

// directQuery is the body of a direct get.
type directQuery struct {
	From     uint64 `json:"seq"`
	Subject  string `json:"next_by_subj"`
	Batch    int    `json:"batch"`
	MaxBytes int    `json:"max_bytes,omitempty"`
}

// direct calls yield for each answer to a batched direct get, until it returns false. The end is the status that comes
// last, which says that the batch is complete or that there is nothing.
func (b *Bus) direct(
	ctx context.Context, stream string, query directQuery, yield func(*nats.Msg) bool,
) (end *nats.Msg, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("read from stream %s: %w", stream, err)
		}
	}()
	payload, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	inbox := b.nc.NewInbox()
	sub, err := b.nc.SubscribeSync(inbox)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // what of the batch is still on its way is dropped
	if err := b.nc.PublishRequest(b.API("DIRECT.GET."+stream), inbox, payload); err != nil {
		return nil, err
	}
	for {
		msg, err := nextAnswer(ctx, sub)
		if err != nil {
			return nil, err
		}
		if status := msg.Header.Get("Status"); status != "" && len(msg.Header[jetstream.SequenceHeader]) == 0 {
			return msg, statusError(status, msg.Header.Get("Description"))
		}
		if !yield(msg) {
			return nil, nil
		}
	}
}

func nextAnswer(ctx context.Context, sub *nats.Subscription) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, apiTimeout)
	defer cancel()
	return sub.NextMsgWithContext(ctx)
}

func statusError(status, description string) error {
	switch status {
	case "204", "404": // the end of the batch; nothing found
		return nil
	case "503":
		return fmt.Errorf("%w: nobody answers direct gets", ErrUnavailable)
	default:
		return fmt.Errorf("direct get: status %s %s", status, description)
	}
}

// addedByServer are the headers with which a direct get describes the message; the last two come with one of a batch only.
var addedByServer = [...]string{
	jetstream.SubjectHeader, jetstream.SequenceHeader, jetstream.TimeStampHeaer,
	jetstream.StreamHeader, "Nats-Num-Pending", "Nats-Last-Sequence",
}

// addedToOne is how many of them come with a message by itself.
const addedToOne = 4

// decodeDirect turns an answer into the message as it is stored. It is not ok when the message's own headers can't be
// read, and with them the server's. headers are those that it has added, in the order of addedByServer.
func decodeDirect(msg *nats.Msg, headers []string) (m *Message, ok bool) {
	var added [len(addedByServer)]string
	for i, name := range headers {
		values := msg.Header[name]
		if len(values) == 0 {
			return nil, false
		}
		// They follow the message's own, which may have the same names, so the last of each is the server's.
		last := len(values) - 1
		added[i] = values[last]
		if msg.Header[name] = values[:last]; last == 0 {
			delete(msg.Header, name)
		}
	}
	seq, err := strconv.ParseUint(added[1], 10, 64)
	if err != nil {
		return nil, false
	}
	at, err := time.Parse(time.RFC3339Nano, added[2])
	if err != nil {
		return nil, false
	}
	return &Message{Subject: added[0], Seq: seq, Header: msg.Header, Data: msg.Data, Time: at}, true
}
