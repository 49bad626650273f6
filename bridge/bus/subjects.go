package bus

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/nats-io/nats.go/jetstream"
)

// Subjects calls yield with every subject in the stream that matches filter, in the server's order. The server lists 100,000
// subjects at a time, in some 8 MB, of which nothing is kept.
func (b *Bus) Subjects(ctx context.Context, stream, filter string, yield func(subject string)) error {
	for offset := 0; ; {
		listed, total, err := b.listSubjects(ctx, stream, filter, offset, yield)
		if err != nil {
			return fmt.Errorf("subjects of stream %s: %w", stream, err)
		}
		if offset += listed; listed == 0 || offset >= total {
			return nil
		}
	}
}

// listSubjects asks for those from an offset on, and returns how many came and how many there are.
func (b *Bus) listSubjects(ctx context.Context, stream, filter string, offset int, yield func(subject string)) (listed, total int, err error) {
	query, err := json.Marshal(map[string]any{"subjects_filter": filter, "offset": offset})
	if err != nil {
		return 0, 0, err
	}
	var resp struct {
		Error *jetstream.APIError `json:"error"`
		Total int                 `json:"total"`
		State struct {
			Subjects names `json:"subjects"`
		} `json:"state"`
	}
	resp.State.Subjects.yield = yield
	if err := b.api(ctx, "STREAM.INFO."+stream, nil, query, &resp); err != nil {
		return 0, 0, err
	}
	if resp.Error != nil {
		return 0, 0, resp.Error
	}
	return resp.State.Subjects.listed, resp.Total, nil
}

// names passes the names of an object's members on as they are read.
type names struct {
	yield  func(name string)
	listed int
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *names) UnmarshalJSON(object []byte) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(object), jsontext.AllowDuplicateNames(true)) // it would keep all of them
	if begin, err := d.ReadToken(); err != nil || begin.Kind() != '{' {
		return err // null
	}
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return err
		}
		n.yield(name.String())
		n.listed++
		if err := d.SkipValue(); err != nil {
			return err
		}
	}
	return nil
}
