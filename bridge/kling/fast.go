package kling

import (
	"bytes"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// fastReader reads the objects that Kling writes the way it documents them, in one pass and with few allocations. Whatever is
// unusual it leaves to [readTask]'s other ways, which decide what it means: repeated names, names in other letters or
// escaped, types that don't fit. What it accepts they read alike.
type fastReader struct {
	src  bytes.Buffer
	d    jsontext.Decoder
	text string // what is read: strings are parts of it
	task wireTask
}

var fastReaders = sync.Pool{New: func() any { return new(fastReader) }}

// readFast reads a task object. ok is false where that is for somebody else to judge.
func readFast(raw []byte) (w wireTask, ok bool) {
	r := fastReaders.Get().(*fastReader)
	defer func() {
		r.text, r.src, r.task = "", bytes.Buffer{}, wireTask{}
		fastReaders.Put(r)
	}()
	r.src = *bytes.NewBuffer(raw)
	r.d.Reset(&r.src)
	r.text = string(raw)
	ok = r.value(&r.task)
	return r.task, ok && r.d.InputOffset() == int64(len(raw))
}

// readMembers gives each member of an object to read, as parts of raw, and reports whether read knew them all and nothing follows.
func readMembers(raw []byte, read func(name, value []byte) bool) bool {
	r := fastReaders.Get().(*fastReader)
	defer func() {
		r.src = bytes.Buffer{}
		r.d.Reset(&r.src) // an answer may be large
		fastReaders.Put(r)
	}()
	r.src = *bytes.NewBuffer(raw)
	r.d.Reset(&r.src)
	if start, err := r.d.ReadToken(); err != nil || start.Kind() != '{' {
		return false
	}
	for r.d.PeekKind() == '"' {
		name, err := r.part(raw)
		if err != nil {
			return false
		}
		value, err := r.part(raw)
		if err != nil || !read(name[1:len(name)-1], value) {
			return false
		}
	}
	if _, err := r.d.ReadToken(); err != nil { // the brace
		return false
	}
	return len(trimSpace(raw[r.d.InputOffset():])) == 0
}

// part reads the next value as a part of what is read.
func (r *fastReader) part(raw []byte) ([]byte, error) {
	value, err := r.d.ReadValue()
	end := int(r.d.InputOffset())
	return raw[end-len(value) : end : end], err
}

// value reads the next value into a field, and reports whether it is of the kind that belongs there.
func (r *fastReader) value(field any) bool {
	kind := r.d.PeekKind()
	if kind == 'n' {
		_, err := r.d.ReadToken()
		return err == nil
	}
	switch at := field.(type) {
	case *text:
		return r.scalar(at, kind, true)
	case *ident:
		return r.scalar(&at.text, kind, true)
	case *state:
		return r.scalar((*text)(at), kind, true)
	case *link:
		return r.scalar((*text)(at), kind, false)
	case *links:
		return r.links(at, kind)
	case wireList:
		return kind == '[' && r.list(at)
	case wireObject:
		return kind == '{' && r.object(at)
	default:
		return false
	}
}

// scalar reads a string, or a number as it is spelled.
func (r *fastReader) scalar(at *text, kind jsontext.Kind, number bool) bool {
	if kind != '"' && (kind != '0' || !number) {
		return false
	}
	raw, err := r.d.ReadValue()
	if err != nil {
		return false
	}
	end := int(r.d.InputOffset())
	spelled := r.text[end-len(raw) : end]
	if kind == '0' {
		*at = text(spelled)
		return true
	}
	if strings.IndexByte(spelled, '\\') < 0 {
		*at = text(spelled[1 : len(spelled)-1])
		return true
	}
	plain, err := jsontext.AppendUnquote(nil, raw)
	*at = text(plain)
	return err == nil
}

// links reads a URL, or a list of them.
func (r *fastReader) links(at *links, kind jsontext.Kind) bool {
	if kind == '[' {
		return r.list((*list[link])(at))
	}
	var one text
	if !r.scalar(&one, kind, false) {
		return false
	}
	if one != "" {
		*at = links{link(one)}
	}
	return true
}

func (r *fastReader) list(at wireList) bool {
	if _, err := r.d.ReadToken(); err != nil { // the bracket
		return false
	}
	for r.d.PeekKind() != ']' {
		if !r.value(at.next()) {
			return false
		}
	}
	_, err := r.d.ReadToken()
	return err == nil
}

func (r *fastReader) object(at wireObject) bool {
	if _, err := r.d.ReadToken(); err != nil { // the brace
		return false
	}
	for r.d.PeekKind() != '}' {
		name, err := r.d.ReadValue()
		if err != nil || len(name) < 2 {
			return false
		}
		name = name[1 : len(name)-1]
		field := at.field(name)
		switch {
		case field != nil && r.value(field):
		case field != nil || !plainName(name) || r.d.SkipValue() != nil:
			return false
		}
	}
	_, err := r.d.ReadToken()
	return err == nil
}

// plainName reports whether a name is in small letters, so that it is not another one in other letters.
func plainName(name []byte) bool {
	for _, c := range name {
		if c >= 'A' && c <= 'Z' || c >= 0x80 || c == '\\' {
			return false
		}
	}
	return true
}
