package console

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/klingbridge/klingbridge/events"
)

// maxForm bounds a form with a request in it, in bytes.
const maxForm = 1 << 20

// again sends an ended request again, with what was changed of its body.
func (s *session) again(r *http.Request) (any, error) {
	var form struct {
		ID   string `json:"id"`
		Body string `json:"body"` // as it was edited; empty: as it was
	}
	if err := decodeUpTo(r, maxForm, &form); err != nil {
		return nil, err
	}
	q := events.AgainQuery{RequestID: form.ID}
	if form.Body != "" {
		set, err := s.changed(r.Context(), form.ID, form.Body)
		if err != nil {
			return nil, err
		}
		q.Set = set
	}
	return s.source.Again(r.Context(), q)
}

func (s *session) changed(ctx context.Context, id, now string) (map[string]json.RawMessage, error) {
	was, err := s.source.Body(ctx, id)
	if err != nil {
		return nil, err
	}
	if was == nil {
		return nil, &answerError{http.StatusConflict, "What was asked for is not known."}
	}
	return changes(was, []byte(now))
}

// submit publishes a new request.
func (s *session) submit(r *http.Request) (any, error) {
	var form struct {
		Kind     string          `json:"kind"`
		ID       string          `json:"id"` // empty: one is made up
		Priority events.Priority `json:"priority"`
		Meta     string          `json:"meta"` // Name:value, or empty
		Body     string          `json:"body"`
	}
	if err := decodeUpTo(r, maxForm, &form); err != nil {
		return nil, err
	}
	meta, err := metadata(form.Meta)
	if err != nil {
		return nil, err
	}
	id, err := s.source.Submit(r.Context(), form.Kind, json.RawMessage(form.Body), events.Options{
		ID: form.ID, Priority: form.Priority, Metadata: meta,
	})
	return events.Replayed{RequestID: id}, err
}

// metadata reads Name:value; nil: there is none.
func metadata(text string) (map[string]string, error) {
	if text == "" {
		return nil, nil
	}
	name, value, ok := strings.Cut(text, ":")
	if !ok || name == "" {
		return nil, &answerError{http.StatusBadRequest, "Metadata: want Name:value, such as Tenant:acme."}
	}
	return map[string]string{name: strings.TrimSpace(value)}, nil
}

// kinds are those of the source, their bodies ready to be read.
func (s *session) kinds() []Kind {
	all := s.source.Kinds()
	for i, k := range all {
		var indented bytes.Buffer
		if json.Indent(&indented, []byte(k.Body), "", "  ") == nil {
			all[i].Body = indented.String()
		}
	}
	return all
}
