package kling

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// readTask reads a task object. Most are as Kling documents them and are read in one go. Of any other all that can be
// read is, and odd names the rest.
func readTask(raw json.RawMessage) (_ wireTask, odd []string, err error) {
	if w, ok := readFast(raw); ok {
		return w, nil, nil
	}
	var w wireTask // not the result, which would need memory in any case
	if err = json.Unmarshal(raw, &w); err == nil || !json.Valid(raw) {
		return w, nil, err
	}
	return readLoosely(raw)
}

// readLoosely reads a task object field by field. A field of a type that Kling never sends there counts as absent: a
// proxy written in a language that has one type for lists and maps gives [] for an object without members, and others
// give a bool or "" (recorded 2026-09). In a list that costs the item, or only its field. Ids and the status are strict:
// the error is about one of them. raw is valid JSON.
func readLoosely(raw json.RawMessage) (w wireTask, odd []string, err error) {
	var r looseReader
	err = r.value(raw, reflect.ValueOf(&w).Elem(), "")
	return w, r.odd, err
}

// looseReader reads JSON into values as encoding/json does, but goes on where a type does not fit.
type looseReader struct {
	odd []string // paths of what did not fit, each once, such as task_result.videos.duration
}

// strict is a value without which the whole is of no use.
type strict interface{ strict() }

func (r *looseReader) value(raw json.RawMessage, v reflect.Value, path string) error {
	if v.Kind() == reflect.Slice && raw[0] == '[' {
		return r.list(raw, v, path)
	}
	if leaf, ok := v.Addr().Interface().(json.Unmarshaler); ok {
		err := leaf.UnmarshalJSON(raw)
		if _, ok := leaf.(strict); ok && err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if err != nil {
			v.SetZero()
			r.note(path)
		}
		return nil
	}
	switch {
	case string(raw) == "null":
	case v.Kind() == reflect.Struct && raw[0] == '{':
		return r.object(raw, v, path)
	default:
		r.note(path)
	}
	return nil
}

func (r *looseReader) object(raw json.RawMessage, v reflect.Value, path string) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	if _, err := d.Token(); err != nil { // the brace
		return err
	}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return err
		}
		var member json.RawMessage
		if err := d.Decode(&member); err != nil {
			return err
		}
		i := fieldIndex(v.Type(), fmt.Sprint(name))
		if i < 0 {
			continue
		}
		at := strings.TrimPrefix(path+"."+v.Type().Field(i).Tag.Get("json"), ".")
		if err := r.value(member, v.Field(i), at); err != nil {
			return err
		}
	}
	return nil
}

// fieldIndex finds the field of a member, taking no notice of case, as encoding/json does; -1: there is none.
func fieldIndex(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if strings.EqualFold(t.Field(i).Tag.Get("json"), name) {
			return i
		}
	}
	return -1
}

func (r *looseReader) list(raw json.RawMessage, v reflect.Value, path string) error {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return err
	}
	v.SetZero()
	for _, item := range items {
		read := reflect.New(v.Type().Elem())
		if err := json.Unmarshal(item, read.Interface()); err != nil { // most are sound
			read.Elem().SetZero()
			if err := r.value(item, read.Elem(), path); err != nil {
				return err
			}
		}
		v.Set(reflect.Append(v, read.Elem()))
	}
	return nil
}

func (r *looseReader) note(path string) {
	if !slices.Contains(r.odd, path) {
		r.odd = append(r.odd, path)
	}
}
