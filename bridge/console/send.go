package console

import (
	"context"
	"encoding/json"
	"net/http"

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
