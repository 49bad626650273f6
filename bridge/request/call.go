package request

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"time"
)

// ReadCall reads the body of a call that answers at once, which is a request without an id: nothing is taken out of it. No
// bytes are an empty object. until is how long files that it refers to are there for Kling.
func ReadCall(data []byte, until time.Time) (*Request, error) {
	r := &Request{Deadline: until}
	if len(bytes.TrimSpace(data)) == 0 {
		return r, nil
	}
	var err error
	r.Body, err = parseObject(data)
	return r, err
}

// HasReferences reports whether files are referred to in the body.
func (r *Request) HasReferences() bool {
	return slices.ContainsFunc(r.Body.fields, func(f field) bool { return hasReferences(f.value) })
}

// Pieces returns the object as JSON in pieces: no large value is copied.
func (o Object) Pieces() [][]byte { return o.pieces() }

// Query returns the fields as the query of a URL, in their order, with strings and numbers as they are spelled. One that is
// null is left out. Lists and objects have no place in one.
func (o Object) Query() (string, error) {
	var query []byte
	for _, f := range o.fields {
		text := string(f.value)
		switch text[0] {
		case '"':
			if err := json.Unmarshal(f.value, &text); err != nil {
				return "", fmt.Errorf("%s: %w", f.name, err)
			}
		case '{', '[':
			return "", fmt.Errorf("%s: want a string, a number, true or false: it becomes a part of the URL", Clip(f.name))
		case 'n':
			continue
		}
		if len(query) > 0 {
			query = append(query, '&')
		}
		query = append(query, url.QueryEscape(f.name)+"="+url.QueryEscape(text)...)
	}
	return string(query), nil
}
