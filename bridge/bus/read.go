package bus

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrNoMessage is returned when no message matches.
var ErrNoMessage = errors.New("no message")

// Message is one stored message.
type Message struct {
	Subject string
	Seq     uint64
	Header  nats.Header
	Garbled bool // it has headers that can't be read, and Header is empty
	Data    []byte
	Time    time.Time // when it was stored
}

// Last returns the newest message on subject, a literal or a filter with wildcards, as the stream's leader knows it:
// a direct get may be answered by a follower that is behind.
func (b *Bus) Last(ctx context.Context, stream, subject string) (*Message, error) {
	return b.get(ctx, stream, lookup{LastBySubject: subject})
}

// LastDirect returns the newest message on subject as any server of a stream that allows direct gets knows it: one that follows
// may be behind. It takes the server a fraction of what Last takes it. It is an error where nobody answers soon, and where the
// user may not ask: then Last is to follow.
func (b *Bus) LastDirect(ctx context.Context, stream, subject string) (*Message, error) {
	payload, err := json.Marshal(lookup{LastBySubject: subject})
	if err != nil {
		return nil, err
	}
	msg := &nats.Msg{Subject: b.API("DIRECT.GET." + stream), Data: payload}
	if b.denials.deniesSpare(msg.Subject) {
		return nil, fmt.Errorf("read from stream %s: %w: direct gets are denied", stream, ErrUnavailable)
	}
	wait := directTimeout
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end))
	}
	answer, err := b.nc.RequestMsg(msg, wait) // with ctx it would take a second timer, and a goroutine for some
	if err != nil {
		return nil, fmt.Errorf("read from stream %s: %w", stream, err)
	}
	b.denials.worked(msg.Subject)
	if m, ok := decodeDirect(answer, addedByServer[:addedToOne]); ok {
		return m, nil
	}
	if err := statusError(answer.Header.Get("Status"), answer.Header.Get("Description")); err != nil {
		return nil, fmt.Errorf("read from stream %s: %w", stream, err)
	}
	return nil, ErrNoMessage
}

// directTimeout bounds a direct get, so that time is left to ask the leader.
const directTimeout = 500 * time.Millisecond

// Next returns the first message on subject at or after seq.
func (b *Bus) Next(ctx context.Context, stream, subject string, seq uint64) (*Message, error) {
	return b.get(ctx, stream, lookup{Sequence: seq, NextBySubject: subject})
}

// lookup says which message is wanted.
type lookup struct {
	Sequence      uint64 `json:"seq,omitempty"`
	LastBySubject string `json:"last_by_subj,omitempty"`
	NextBySubject string `json:"next_by_subj,omitempty"`
}

func (b *Bus) get(ctx context.Context, stream string, query lookup) (*Message, error) {
	payload, err := json.Marshal(query)
	if err != nil {
		return nil, err
	}
	answer, err := b.call(ctx, "STREAM.MSG.GET."+stream, nil, payload)
	if err != nil {
		return nil, fmt.Errorf("read from stream %s: %w", stream, err)
	}
	m, err := decodeMessage(answer)
	if err != nil && !errors.Is(err, ErrNoMessage) {
		err = fmt.Errorf("read from stream %s: %w", stream, err)
	}
	return m, err
}

// decodeMessage reads an answer with a message, or ErrNoMessage, or another error of the API's. It changes the answer.
func decodeMessage(answer []byte) (*Message, error) {
	data, answer, err := cutBase64(answer, "data") // these are most of the answer
	if err != nil {
		return nil, err
	}
	header, answer, err := cutBase64(answer, "hdrs")
	if err != nil {
		return nil, err
	}
	var resp struct {
		Error   *jetstream.APIError `json:"error"`
		Message *struct {
			Subject string    `json:"subject"`
			Seq     uint64    `json:"seq"`
			Header  []byte    `json:"hdrs"`
			Data    []byte    `json:"data"`
			Time    time.Time `json:"time"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer, &resp); err != nil {
		return nil, err
	}
	if resp.Error != nil {
		if resp.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
			return nil, ErrNoMessage
		}
		return nil, resp.Error
	}
	if resp.Message == nil {
		return nil, errors.New("empty answer")
	}
	data, header = append(data, resp.Message.Data...), append(header, resp.Message.Header...) // each is in one of the two
	m := &Message{Subject: resp.Message.Subject, Seq: resp.Message.Seq, Time: resp.Message.Time, Header: nats.Header{}, Data: data}
	if read, err := nats.DecodeHeadersMsg(header); err == nil {
		m.Header = read
	} else { // they are left out, as from a delivery
		m.Garbled = len(header) > 0
	}
	return m, nil
}

// cutBase64 takes the value of a member out of a JSON object: the decoder would look at each byte of it twice. A quote within a
// string is escaped, so that none is taken for a member. What is spelled another way is left to the decoder.
func cutBase64(object []byte, member string) (value, rest []byte, err error) {
	_, after, found := bytes.Cut(object, []byte(`"`+member+`":"`))
	end := bytes.IndexByte(after, '"')
	if !found || end < 0 {
		return nil, object, nil
	}
	value, err = base64.StdEncoding.AppendDecode(nil, after[:end])
	from := len(object) - len(after)
	return value, append(object[:from], after[end:]...), err
}

// Error codes that answer the deletion of a message that is not there: which one depends on where in the store it was.
const (
	codeDeleteFailed     = 10057
	codeSequenceNotFound = 10043
)

// Delete removes one stored message. That it is already gone is no error.
func (b *Bus) Delete(ctx context.Context, stream string, seq uint64) error {
	payload, err := json.Marshal(map[string]any{"seq": seq, "no_erase": true})
	if err != nil {
		return err
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := b.api(ctx, "STREAM.MSG.DELETE."+stream, nil, payload, &resp); err != nil {
		return fmt.Errorf("delete message %d of stream %s: %w", seq, stream, err)
	}
	if e := resp.Error; e != nil && e.ErrorCode != codeDeleteFailed && e.ErrorCode != codeSequenceNotFound {
		return fmt.Errorf("delete message %d of stream %s: %w", seq, stream, resp.Error)
	}
	return nil
}

// State returns what a stream holds.
func (b *Bus) State(ctx context.Context, stream string) (jetstream.StreamState, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return jetstream.StreamState{}, fmt.Errorf("state of stream %s: %w", stream, err)
	}
	return s.CachedInfo().State, nil
}

// StateOf returns what a stream holds, with the number of messages on each subject that matches filter.
func (b *Bus) StateOf(ctx context.Context, stream, filter string) (jetstream.StreamState, error) {
	s, err := b.js.Stream(ctx, stream)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(filter))
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return info.State, nil
}

// api calls JetStream's own API. Its answer stays in the caller's hands: an API error is in resp.
func (b *Bus) api(ctx context.Context, name string, header nats.Header, payload []byte, resp any) error {
	answer, err := b.call(ctx, name, header, payload)
	if err != nil {
		return err
	}
	return json.Unmarshal(answer, resp)
}

// call is api for an answer as it came.
func (b *Bus) call(ctx context.Context, name string, header nats.Header, payload []byte) ([]byte, error) {
	if end, ok := ctx.Deadline(); !ok || time.Until(end) > apiTimeout { // a second timer, and a goroutine for some contexts
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, apiTimeout)
		defer cancel()
	}
	msg := &nats.Msg{Subject: b.API(name), Header: header, Data: payload}
	reply, err := b.nc.RequestMsgWithContext(ctx, msg)
	if err != nil {
		return nil, err
	}
	b.denials.worked(msg.Subject)
	return reply.Data, nil
}

// apiTimeout bounds one call of JetStream's API.
const apiTimeout = 5 * time.Second
