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
	answer, err := b.call(ctx, "STREAM.INFO."+stream, nil, query)
	if err != nil {
		return 0, 0, err
	}
	return readSubjects(answer, yield)
}

// readSubjects passes the subjects of an answer on. It changes the answer.
func readSubjects(answer []byte, yield func(subject string)) (listed, total int, err error) {
	listed, answer = cutNames(answer, "subjects", yield) // these are nearly all of it, and the decoder looks at each byte three times
	var resp struct {
		Error *jetstream.APIError `json:"error"`
		Total int                 `json:"total"`
		State struct {
			Subjects names `json:"subjects"`
		} `json:"state"`
	}
	resp.State.Subjects.yield = yield
	if err := json.Unmarshal(answer, &resp); err != nil {
		return 0, 0, err
	}
	if resp.Error != nil {
		return 0, 0, resp.Error
	}
	return listed + resp.State.Subjects.listed, resp.Total, nil
}

// cutNames takes the members of the first object of that name, all of which are counts, out of a JSON object and passes their
// names on. A quote within a string is escaped, so that no text is taken for the member. From the first member on that is
// spelled in another way than the server does, or has an escaped name, the rest is left to the decoder.
func cutNames(object []byte, member string, yield func(name string)) (n int, rest []byte) {
	begin := []byte(`"` + member + `":{`)
	at := bytes.Index(object, begin)
	if at < 0 {
		return 0, object
	}
	at += len(begin)
	members := object[at:]
	for {
		name, after, ok := cutCount(members)
		if !ok {
			return n, append(object[:at], members...)
		}
		yield(string(name))
		n++
		members = after
	}
}

// cutCount takes the first of some members off, and the comma after it.
func cutCount(members []byte) (name, rest []byte, ok bool) {
	if len(members) == 0 || members[0] != '"' {
		return nil, nil, false
	}
	name, rest, ok = bytes.Cut(members[1:], []byte(`":`))
	if !ok || bytes.ContainsAny(name, `"\\`) {
		return nil, nil, false
	}
	digits := 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
		digits++
	}
	if digits == 0 || digits == len(rest) {
		return nil, nil, false
	}
	switch rest = rest[digits:]; rest[0] {
	case ',':
		return name, rest[1:], true
	default:
		return name, rest, rest[0] == '}'
	}
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
