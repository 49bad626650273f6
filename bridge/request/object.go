package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Object is a JSON object whose fields keep their order and whose values keep their spelling: what callers send reaches
// Kling as they wrote it, numbers and unknown fields included.
type Object struct {
	fields []field
}

type field struct {
	name  string
	value json.RawMessage
}

var errNotObject = errors.New("body: want a JSON object")

// parseObject reads data, which must be one JSON object in UTF-8 and nothing else. Values may be parts of data.
func parseObject(data []byte) (Object, error) {
	if o, ok := parsePlain(data); ok {
		return o, nil
	}
	return parseAny(data)
}

// parseAny is parseObject for whatever comes.
func parseAny(data []byte) (Object, error) {
	if !utf8.Valid(data) {
		return Object{}, errors.New("body: not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	start, err := dec.Token()
	if err != nil {
		return Object{}, fmt.Errorf("body: not JSON: %w", err)
	}
	if start != json.Delim('{') {
		return Object{}, errNotObject
	}
	var o Object
	for dec.More() {
		f, err := readField(dec)
		if err != nil {
			return Object{}, fmt.Errorf("body: not JSON: %w", err)
		}
		o.fields = append(o.fields, f)
	}
	if _, err := dec.Token(); err != nil {
		return Object{}, fmt.Errorf("body: not JSON: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return Object{}, errors.New("body: something follows the JSON object")
	}
	return o, nil
}

func readField(dec *json.Decoder) (field, error) {
	name, err := dec.Token()
	if err != nil {
		return field{}, err
	}
	f := field{name: name.(string)} // the decoder only gives strings as names
	err = dec.Decode(&f.value)
	return f, err
}

// get returns the last value of that name, which is the one JSON parsers take.
func (o Object) get(name string) (json.RawMessage, bool) {
	for i := len(o.fields) - 1; i >= 0; i-- {
		if o.fields[i].name == name {
			return o.fields[i].value, true
		}
	}
	return nil, false
}

// takeString removes every field of that name and returns the longest of their values, so that repeating a name hides
// nothing. No field, null and "" are the same: Kling's own samples send "" for what is not set.
func (o *Object) takeString(name string) (string, error) {
	if _, there := o.get(name); !there {
		return "", nil
	}
	value := ""
	kept := make([]field, 0, len(o.fields))
	for _, f := range o.fields {
		if f.name != name {
			kept = append(kept, f)
			continue
		}
		var s *string
		if err := json.Unmarshal(f.value, &s); err != nil {
			return "", fmt.Errorf("%s: want a string", name)
		}
		if s != nil && len(*s) > len(value) {
			value = *s
		}
	}
	o.fields = kept
	return value, nil
}

// child returns the object in the field of that name; no field and null are an empty one.
func (o Object) child(name string) (Object, error) {
	raw, ok := o.get(name)
	if !ok || string(raw) == "null" {
		return Object{}, nil
	}
	child, err := parseObject(raw)
	if err != nil {
		return Object{}, fmt.Errorf("%s: want an object", name)
	}
	return child, nil
}

// set gives the field of that name a value, in its old place if it has one.
func (o *Object) set(name string, value json.RawMessage) {
	kept := make([]field, 0, len(o.fields)+1)
	placed := false
	for _, f := range o.fields {
		if f.name == name {
			if placed {
				continue
			}
			f.value, placed = value, true
		}
		kept = append(kept, f)
	}
	if !placed {
		kept = append(kept, field{name, value})
	}
	o.fields = kept
}

// with returns a copy with these fields set.
func (o Object) with(fields []field) Object {
	for _, f := range fields {
		o.set(f.name, f.value)
	}
	return o
}

// encode returns the object as JSON.
func (o Object) encode() json.RawMessage { return bytes.Join(o.pieces(), nil) }

// largeValue is from where on copying a value costs more than it is worth. Images of megabytes are values too.
const largeValue = 64 << 10

// pieces returns the object as JSON in pieces, so that no large value is copied: it is a piece of its own.
func (o Object) pieces() [][]byte {
	var all [][]byte
	small := make([]byte, 0, o.smallSize())
	for i, f := range o.fields {
		separator := byte(',')
		if i == 0 {
			separator = '{'
		}
		small = append(appendName(append(small, separator), f.name), ':')
		if len(f.value) < largeValue {
			small = append(small, f.value...)
			continue
		}
		all = append(all, small, f.value)
		small = nil
	}
	if len(o.fields) == 0 {
		small = []byte{'{'}
	}
	return append(all, append(small, '}'))
}

// smallSize is about what the object takes up to its first large value, in bytes.
func (o Object) smallSize() (n int) {
	const marks = 4 // quotes, colon and comma
	for _, f := range o.fields {
		n += len(f.name) + marks
		if len(f.value) >= largeValue {
			return n
		}
		n += len(f.value)
	}
	return n + 1
}

func appendName(dst []byte, name string) []byte {
	if plainText(name) {
		return appendPlain(dst, name)
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(name); err != nil {
		panic(err) // strings always encode
	}
	return append(dst, bytes.TrimRight(buf.Bytes(), "\n")...)
}

// Size is what the values take, in bytes.
func (o Object) Size() (n int64) {
	for _, f := range o.fields {
		n += int64(len(f.value))
	}
	return n
}
