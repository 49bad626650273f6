// Package body has typed bodies of requests: those of the kinds asked for most, with the fields Kling documents (its API
// reference, 2026-10), and [Raw] for any other.
//
// Limits and defaults are Kling's, and Kling checks them. A field left at its zero value is not sent. What is not typed
// goes into Extra, whose entries become fields beside the typed ones; a body can't be encoded when Extra has a typed field
// that is set too.
//
// Images are URLs or base64 without a data: prefix: jpg or png, up to 10 MB, sides from 300 px, ratio 1:2.5 to 2.5:1.
// Kling fetches URLs later than it answers, so they must stay valid. nats-object://<bucket>/<name>, as
// [events.Client.Attach] returns it, is replaced by the base64 of that object.
package body

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/klingbridge/klingbridge/events"
)

var _ = []events.Body{Text2Video{}, Image2Video{}, VideoExtend{}, LipSync{}, Effects{}, TextToVideo{}, raw{}}

// raw is a body as JSON.
type raw struct {
	kind string
	data json.RawMessage
}

// Raw returns a body of any kind: the JSON object that Kling documents for its create call, which is forwarded as it is.
// The newer API's "model" names the path and is not forwarded.
func Raw(kind string, data []byte) events.Body { return raw{kind, data} }

// Kind implements [events.Body].
func (r raw) Kind() string { return r.kind }

// MarshalJSON implements [json.Marshaler].
func (r raw) MarshalJSON() ([]byte, error) { return r.data, nil }

// Kind implements [events.Body].
func (Text2Video) Kind() string { return events.KindText2Video }

// Kind implements [events.Body].
func (Image2Video) Kind() string { return events.KindImage2Video }

// Kind implements [events.Body].
func (VideoExtend) Kind() string { return events.KindVideoExtend }

// Kind implements [events.Body].
func (LipSync) Kind() string { return events.KindLipSync }

// Kind implements [events.Body].
func (Effects) Kind() string { return events.KindEffects }

// Kind implements [events.Body].
func (TextToVideo) Kind() string { return events.KindTextToVideo }

// MarshalJSON writes Extra beside the typed fields.
func (b Text2Video) MarshalJSON() ([]byte, error) {
	type typed Text2Video
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b Image2Video) MarshalJSON() ([]byte, error) {
	type typed Image2Video
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b VideoExtend) MarshalJSON() ([]byte, error) {
	type typed VideoExtend
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b LipSync) MarshalJSON() ([]byte, error) {
	type typed LipSync
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b Effects) MarshalJSON() ([]byte, error) {
	type typed Effects
	return inline(typed(b), b.Extra)
}

// MarshalJSON writes Extra beside the typed fields.
func (b TextToVideo) MarshalJSON() ([]byte, error) {
	type typed TextToVideo
	return inline(typed(b), b.Extra)
}

// inline encodes typed, a struct, with the entries of extra as further fields.
func inline(typed any, extra map[string]any) ([]byte, error) {
	data, err := encode(typed)
	if err != nil || len(extra) == 0 {
		return data, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return nil, err
	}
	for name, value := range extra {
		if _, taken := fields[name]; taken {
			return nil, fmt.Errorf("extra field %q is a typed one that is set too", name)
		}
		if fields[name], err = encode(value); err != nil {
			return nil, fmt.Errorf("extra field %q: %w", name, err)
		}
	}
	return encode(fields)
}

// encode is json.Marshal that leaves &, < and > as they are: URLs and prompts stay readable.
func encode(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}
