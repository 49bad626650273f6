package kling

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
)

// SyncCall is one of Kling's calls that answer at once: they make no task, have no external id, and can't be asked about
// afterwards.
type SyncCall struct {
	Name   string // a subject token
	Method string // GET: its parameters are a query; POST: a JSON body
	Path   string
}

// Changes reports whether the call makes, deletes or costs something, so that it matters whether Kling has got it.
func (c SyncCall) Changes() bool { return c.Method != http.MethodGet }

// SyncCalls returns every call of the sort that Kling documents (its API reference, 2026-09), in the order of their
// documentation.
func SyncCalls() []SyncCall {
	const get, post = http.MethodGet, http.MethodPost
	return []SyncCall{
		{"identify-face", post, "/v1/videos/identify-face"},
		{"multi-elements-init", post, "/v1/videos/multi-elements/init-selection"},
		{"multi-elements-add", post, "/v1/videos/multi-elements/add-selection"},
		{"multi-elements-delete", post, "/v1/videos/multi-elements/delete-selection"},
		{"multi-elements-clear", post, "/v1/videos/multi-elements/clear-selection"},
		{"multi-elements-preview", post, "/v1/videos/multi-elements/preview-selection"},
		{"tts", post, "/v1/audio/tts"},
		{"image-recognize", post, "/v1/videos/image-recognize"},
		{"delete-voices", post, "/v1/general/delete-voices"},
		{"delete-elements", post, "/v1/general/delete-elements"},
		{"presets-voices", get, "/v1/general/presets-voices"},
		{"presets-elements", get, "/v1/general/advanced-presets-elements"},
		{"account-costs", get, "/account/costs"},
	}
}

// Sync makes a call and returns its data as Kling spells it; nil where the answer has none, as that to a deletion may
// (recorded 2026-09). The body, which may come in pieces, is forwarded byte for byte; of a GET it is the query, escaped.
//
// It is sent once: also a token that Kling refuses is only replaced for the next call. With [ActionLookup] Kling may
// have done what a call that changes something asks for, with any other action it has not.
func (c *Client) Sync(ctx context.Context, s SyncCall, body ...[]byte) (data json.RawMessage, err error) {
	r := request{op: s.Name, method: s.Method, path: s.Path, changes: s.Changes(), once: true}
	if s.Method == http.MethodGet {
		if query := bytes.Join(body, nil); len(query) > 0 {
			r.path += "?" + string(query)
		}
	} else {
		r.body = body
	}
	done := c.watch(ctx, r.op)
	defer func() { done(err) }()
	a, err := c.call(ctx, r)
	if err != nil {
		return nil, err
	}
	if string(a.data) == "null" {
		return nil, nil
	}
	return a.data, nil
}
