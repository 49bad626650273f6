package request

import (
	"bytes"
	"encoding/json"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// plainParser reads the objects that most bodies are, in one pass. Its memory is used again.
type plainParser struct {
	src bytes.Buffer
	d   jsontext.Decoder
}

var plainParsers = sync.Pool{New: func() any { return new(plainParser) }}

// usualFields is how many members most bodies have at most.
const usualFields = 8

// parsePlain reads an object whose names are spelled without escapes. Its values are parts of data. ok is false where that is for
// the parser of everything to judge; what this one accepts both read alike.
func parsePlain(data []byte) (o Object, ok bool) {
	p := plainParsers.Get().(*plainParser)
	defer p.release()
	p.src = *bytes.NewBuffer(data)
	p.d.Reset(&p.src, jsontext.AllowDuplicateNames(true))
	if start, err := p.d.ReadToken(); err != nil || start.Kind() != '{' {
		return Object{}, false
	}
	o.fields = make([]field, 0, usualFields)
	for p.d.PeekKind() == '"' {
		name, err := p.d.ReadValue()
		if err != nil || bytes.IndexByte(name, '\\') >= 0 {
			return Object{}, false
		}
		f := field{name: string(name[1 : len(name)-1])}
		value, err := p.d.ReadValue()
		if err != nil {
			return Object{}, false
		}
		end := int(p.d.InputOffset())
		f.value = json.RawMessage(data[end-len(value) : end : end])
		o.fields = append(o.fields, f)
	}
	if _, err := p.d.ReadToken(); err != nil { // the brace
		return Object{}, false
	}
	return o, len(bytes.Trim(data[p.d.InputOffset():], " \t\r\n")) == 0
}

// release gives the memory back, and keeps nothing of what was read.
func (p *plainParser) release() {
	p.src = bytes.Buffer{}
	p.d.Reset(&p.src)
	plainParsers.Put(p)
}

// plainText reports whether a text stands for itself as a JSON string, between quotes: ASCII without what is escaped anywhere.
func plainText(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			return false
		}
	}
	return true
}

// appendPlain appends such a text with its quotes.
func appendPlain(dst []byte, s string) []byte {
	return append(append(append(dst, '"'), s...), '"')
}

// plainString is the text of a JSON string that is spelled as it is read. ok is false for any other value.
func plainString(value json.RawMessage) (s string, ok bool) {
	if len(value) < 2 || value[0] != '"' || bytes.IndexByte(value, '\\') >= 0 {
		return "", false
	}
	return string(value[1 : len(value)-1]), true
}
