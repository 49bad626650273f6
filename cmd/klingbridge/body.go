package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/klingbridge/klingbridge/events"
)

// readBody returns the request's body: the named file, or stdin for "-", with the --prompt, --set and --attach flags
// applied. A body that no flag touches is passed on byte for byte.
func (p *program) readBody(s submission, attachments []attachment) (json.RawMessage, error) {
	raw, err := p.readFile(s.file)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 && s.prompt == "" && len(s.sets) == 0 && len(attachments) == 0 {
		return nil, usagef("the request has no body: name a file, or use --prompt, --set or --attach")
	}
	return changedBody(raw, bodyName(s.file), s, attachments)
}

// checkBody refuses flags that can't change a body, and those of which one would undo another.
func (s submission) checkBody() error {
	by := map[string]string{}
	if s.prompt != "" {
		by["prompt"] = "--prompt"
	}
	for _, set := range s.sets {
		path, _, ok := strings.Cut(set, "=")
		if !ok || path == "" {
			return usagef("--set %q is not key=value", set)
		}
		switch other := by[path]; {
		case strings.Contains(path, appendKey): // each is another place
		case other == "--set":
			return usagef("--set %s is given twice, the second time as %q", path, set)
		case other != "":
			return usagef("%s and --set %q exclude each other", other, set)
		default:
			by[path] = "--set"
		}
	}
	return nil
}

// changedBody applies the --prompt, --set and --attach flags to a body, which errors call name.
func changedBody(raw []byte, name string, s submission, attachments []attachment) (json.RawMessage, error) {
	body, err := decodeObject(raw)
	if errors.Is(err, errSecondValue) {
		err = fmt.Errorf("%w; is it one body a line, for --lines?", err)
	}
	if err != nil {
		return nil, usagef("%s is not a JSON object: %w", name, err)
	}
	if s.prompt == "" && len(s.sets) == 0 && len(attachments) == 0 {
		return raw, nil
	}
	if s.prompt != "" {
		body["prompt"] = s.prompt
	}
	for _, set := range s.sets {
		if err := setField(body, set); err != nil {
			return nil, err
		}
	}
	for _, a := range attachments {
		if _, err := put(body, "", fieldPath(a.field), a.ref()); err != nil {
			return nil, usagef("--attach %s: %w", a.field, err)
		}
	}
	return encodeJSON(body)
}

func (p *program) readFile(name string) ([]byte, error) {
	switch name {
	case "":
		return nil, nil
	case "-":
		raw, err := io.ReadAll(p.stdin)
		if err != nil {
			return nil, fmt.Errorf("read the body from stdin: %w", err)
		}
		return bytes.TrimSpace(raw), nil
	default:
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, usagef("read the body: %w", err)
		}
		return bytes.TrimSpace(raw), nil
	}
}

func bodyName(file string) string {
	if file == "-" {
		return "what came from stdin"
	}
	return file
}

// decodeObject keeps numbers as they are spelled. No bytes are an empty object.
func decodeObject(raw []byte) (map[string]any, error) {
	body := map[string]any{}
	if len(raw) == 0 {
		return body, nil
	}
	err := decodeJSON(raw, &body)
	if other, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, fmt.Errorf("it is of type %s", other.Value)
	}
	if err != nil {
		return nil, err
	}
	if body == nil {
		return nil, errors.New("it is null")
	}
	return body, nil
}

var errSecondValue = errors.New("something follows the first value")

func decodeJSON(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errSecondValue
	}
	return nil
}

// setField applies one --set: the value is JSON where it is valid JSON, else a string.
func setField(body map[string]any, set string) error {
	path, text, ok := strings.Cut(set, "=")
	if !ok || path == "" {
		return usagef("--set %q is not key=value", set)
	}
	var value any
	if err := decodeJSON([]byte(text), &value); err != nil {
		value = text
	}
	if _, err := put(body, "", fieldPath(path), value); err != nil {
		return usagef("--set %s: %w", path, err)
	}
	return nil
}

// appendKey is the key that makes a list one longer.
const appendKey = "[]"

// fieldPath takes apart the name of a field: dots lead into objects, numbers into lists, and [] to a list's end.
func fieldPath(path string) []string {
	return strings.Split(strings.ReplaceAll(path, appendKey, "."+appendKey), ".")
}

// put places a value in a JSON value of that name and returns that. What the path leads through is made where there is
// nothing.
func put(in any, name string, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	key, rest := path[0], path[1:]
	if in == nil {
		in = map[string]any{}
		if key == appendKey {
			in = []any{}
		}
	}
	switch at := in.(type) {
	case map[string]any:
		if key == appendKey {
			return nil, fmt.Errorf("%q is not a list", name)
		}
		child, err := put(at[key], key, rest, value)
		at[key] = child
		return at, err
	case []any:
		if key == appendKey {
			child, err := put(nil, key, rest, value)
			return append(at, child), err
		}
		index, err := strconv.Atoi(key)
		if err != nil || index < 0 || index >= len(at) {
			return nil, fmt.Errorf("%q is not a place in %q, a list of %d", key, name, len(at))
		}
		at[index], err = put(at[index], key, rest, value)
		return at, err
	default:
		return nil, fmt.Errorf("%q is not an object", name)
	}
}

// encodeJSON leaves &, < and > as they are: prompts and URLs are read by people too.
func encodeJSON(v any) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(buf.Bytes(), "\n"), nil
}

// hintAtQuotes says how to give a string of digits, where Kling found fault with a field that was given as a number: the
// shell takes one pair of quotes away, and Kling's refusal shows none.
func (p *program) hintAtQuotes(e *events.Error, sets []string) {
	if e.Class != events.ErrorInvalid {
		return
	}
	named := strings.FieldsFunc(e.Message, func(r rune) bool { return !unicode.IsLetter(r) && r != '_' && r != '.' })
	for _, set := range sets {
		field, text, _ := strings.Cut(set, "=")
		var value any
		_ = decodeJSON([]byte(text), &value) // what is no JSON is a string
		if _, number := value.(json.Number); number && slices.Contains(named, field) {
			fmt.Fprintf(p.stderr, "%s was sent as a number; Kling may want it as a string: --set '%s=\"%s\"'\n", field, field, text)
		}
	}
}
