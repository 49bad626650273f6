package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// readBody returns the request's body: the named file, or stdin for "-", with the --prompt and --set flags applied. A
// body that no flag touches is passed on byte for byte.
func (p *program) readBody(file, prompt string, sets []string) (json.RawMessage, error) {
	raw, err := p.readFile(file)
	if err != nil {
		return nil, err
	}
	if len(raw) == 0 && prompt == "" && len(sets) == 0 {
		return nil, usagef("the request has no body: name a file, or use --prompt or --set")
	}
	return changedBody(raw, bodyName(file), prompt, sets)
}

// changedBody applies the --prompt and --set flags to a body, which errors call name.
func changedBody(raw []byte, name, prompt string, sets []string) (json.RawMessage, error) {
	body, err := decodeObject(raw)
	if err != nil {
		return nil, usagef("%s is not a JSON object: %w", name, err)
	}
	if prompt == "" && len(sets) == 0 {
		return raw, nil
	}
	if prompt != "" {
		body["prompt"] = prompt
	}
	for _, set := range sets {
		if err := setField(body, set); err != nil {
			return nil, err
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
			return nil, fmt.Errorf("read the body: %w", err)
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

func decodeJSON(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the first value")
	}
	return nil
}

// setField applies one --set: dots in the key lead into nested objects, and the value is JSON where it is valid JSON,
// else a string.
func setField(body map[string]any, set string) error {
	path, text, ok := strings.Cut(set, "=")
	if !ok || path == "" {
		return usagef("--set %q is not key=value", set)
	}
	var value any
	if err := decodeJSON([]byte(text), &value); err != nil {
		value = text
	}
	keys := strings.Split(path, ".")
	for _, key := range keys[:len(keys)-1] {
		if body[key] == nil {
			body[key] = map[string]any{}
		}
		child, ok := body[key].(map[string]any)
		if !ok {
			return usagef("--set %s: %q is not an object", path, key)
		}
		body = child
	}
	body[keys[len(keys)-1]] = value
	return nil
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
