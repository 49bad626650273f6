package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
)

// asked is what a request asks for, beside its body.
type asked struct {
	Prompt string   `json:"prompt"` // empty: it has none
	Images []string `json:"images"` // https URLs of inputs, which the page's reader fetches
	// Editable is the body to change before it is sent again, as text so that numbers keep their spelling; empty: it is no
	// JSON object.
	Editable string   `json:"editable"`
	Kept     []string `json:"kept"` // members too large to be in Editable, which stay as they are
}

const (
	maxImages   = 12
	maxEditable = 4 << 10 // of one member, in bytes
)

// describeBody reads a body for the page. Whatever it is, it makes sense to show it.
func describeBody(body []byte) asked {
	a := asked{Images: []string{}, Kept: []string{}}
	var object map[string]any
	if json.Unmarshal(body, &object) != nil {
		return a
	}
	a.Prompt = promptOf(object)
	a.Images = collectImages(a.Images, "", object)
	if all, err := membersOf(body); err == nil {
		a.Editable, a.Kept = editable(all)
	}
	return a
}

// promptOf finds the words that a body asks by. Where they are depends on the kind and on the API's generation.
func promptOf(object map[string]any) string {
	text := func(o map[string]any, name string) string {
		s, _ := o[name].(string)
		return s
	}
	var parts []string
	for _, list := range []struct{ member, kind, name string }{{"contents", "prompt", "text"}, {"multi_prompt", "", "prompt"}} {
		items, _ := object[list.member].([]any)
		for _, item := range items {
			if o, _ := item.(map[string]any); text(o, "type") == list.kind && text(o, list.name) != "" {
				parts = append(parts, text(o, list.name))
			}
		}
	}
	if input, _ := object["input"].(map[string]any); input != nil {
		parts = append(parts, text(input, "prompt"), text(input, "text"))
	}
	parts = slices.DeleteFunc(append([]string{text(object, "prompt")}, parts...), func(s string) bool { return s == "" })
	if len(parts) == 0 {
		parts = append(parts, text(object, "sound_effect_prompt"))
	}
	return strings.Join(parts, " / ")
}

// collectImages adds the URLs that lead to images, going by what they are called. Base64 is left out: it is in the body.
func collectImages(found []string, name string, value any) []string {
	switch value := value.(type) {
	case map[string]any:
		// Newer APIs say of each URL what it is: {"type": "first_frame", "url": …}.
		if kind, _ := value["type"].(string); kind != "" {
			name = kind
		}
		for _, member := range slices.Sorted(maps.Keys(value)) {
			called := member
			if member == "url" {
				called = name
			}
			found = collectImages(found, called, value[member])
		}
	case []any:
		for _, item := range value {
			found = collectImages(found, name, item)
		}
	case string:
		if len(found) < maxImages && isImage(name, value) && !slices.Contains(found, value) {
			found = append(found, value)
		}
	}
	return found
}

func isImage(name, text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return false
	}
	for _, word := range []string{"image", "frame", "mask"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return slices.Contains([]string{".jpg", ".jpeg", ".png", ".webp"}, strings.ToLower(path.Ext(u.Path)))
}

// member is one of a JSON object, its value spelled as it came.
type member struct {
	name  string
	value json.RawMessage
}

// membersOf reads a JSON object in its order.
func membersOf(text []byte) ([]member, error) {
	if !json.Valid(text) { // the decoder alone would not mind what follows
		var into any
		return nil, json.Unmarshal(text, &into)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, fmt.Errorf("it begins with %v", start)
	}
	var all []member
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, err
		}
		m := member{name: name.(string)} // the decoder only gives strings as names
		if err := dec.Decode(&m.value); err != nil {
			return nil, err
		}
		all = append(all, m)
	}
	return all, nil
}

// editable is the text of an object without its large members, and their names.
func editable(all []member) (text string, kept []string) {
	kept = []string{}
	var b bytes.Buffer
	b.WriteByte('{')
	for _, m := range all {
		if len(m.value) > maxEditable {
			kept = append(kept, m.name)
			continue
		}
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		name, _ := json.Marshal(m.name) // a string
		b.Write(name)
		b.WriteByte(':')
		b.Write(m.value)
	}
	b.WriteByte('}')
	var indented bytes.Buffer
	if json.Indent(&indented, b.Bytes(), "", "  ") != nil {
		return "", kept
	}
	return indented.String(), kept
}

// changes are the members of an edited body that differ from those of the request, or are new.
func changes(was, now []byte) (map[string]json.RawMessage, error) {
	before, err := membersOf(was)
	if err != nil {
		return nil, &answerError{http.StatusConflict, "What was asked for is no JSON object, which can't be changed: use New request."}
	}
	after, err := membersOf(now)
	if err != nil {
		return nil, &answerError{http.StatusBadRequest, "This is no JSON object: " + err.Error() + "."}
	}
	set := map[string]json.RawMessage{}
	for _, m := range after {
		set[m.name] = m.value
	}
	var gone []string
	for _, m := range before {
		value, still := set[m.name]
		switch {
		case still && compact(value) == compact(m.value):
			delete(set, m.name)
		case !still && len(m.value) <= maxEditable:
			gone = append(gone, m.name)
		}
	}
	if len(gone) > 0 {
		return nil, &answerError{http.StatusBadRequest,
			"A member can be changed here, but not taken out: " + strings.Join(gone, ", ") + ". Use New request."}
	}
	return set, nil
}

func compact(value json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, value) != nil {
		return string(value)
	}
	return b.String()
}

const (
	maxPrompts = 100 // in one answer
	readers    = 8   // of bodies at a time
)

// prompts returns the beginnings of the prompts of requests, by their ids. What is not known is left out.
func (s *session) prompts(ctx context.Context, ids []string) (map[string]string, error) {
	if len(ids) > maxPrompts {
		return nil, &answerError{http.StatusBadRequest, fmt.Sprintf("id: want at most %d.", maxPrompts)}
	}
	var mu sync.Mutex
	var failed error
	found := map[string]string{}
	var wg sync.WaitGroup
	places := make(chan struct{}, readers)
	for _, id := range ids {
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			body, err := s.source.Body(ctx, id)
			var object map[string]any
			known := err == nil && json.Unmarshal(body, &object) == nil
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			if prompt := promptOf(object); known && prompt != "" {
				found[id] = clip(prompt)
			}
		})
	}
	wg.Wait()
	return found, failed
}
