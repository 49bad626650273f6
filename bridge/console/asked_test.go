package console_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/events"
)

type asked struct {
	Prompt   string   `json:"prompt"`
	Images   []string `json:"images"`
	Editable string   `json:"editable"`
	Kept     []string `json:"kept"`
}

// asks lets the request "order" have asked for a body.
func (s *site) asks(body string) {
	const id = "order"
	s.source.mu.Lock()
	defer s.source.mu.Unlock()
	s.source.tasks[events.Token(id)] = events.Task{RequestID: id, Status: events.StatusSucceed, Body: body}
}

// TestStoryTellsWhatWasAskedFor finds the prompt and the images of bodies of every generation, and of none.
func TestStoryTellsWhatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{})
	large := strings.Repeat("A", 5<<10)
	for body, want := range map[string]asked{
		`{"prompt":"a","cfg_scale":0.50}`: {Prompt: "a", Editable: "{\n  \"prompt\": \"a\",\n  \"cfg_scale\": 0.50\n}"},
		`{"image":"` + large + `","prompt":"b"}`: {
			Prompt: "b", Editable: "{\n  \"prompt\": \"b\"\n}", Kept: []string{"image"},
		},
		`{"image":"https://a.example/x","image_tail":"http://a.example/plain","other":"javascript:1"}`: {
			Images: []string{"https://a.example/x"},
		},
		`{"contents":[{"type":"first_frame","url":"https://a.example/f"},{"type":"prompt","text":"c"},{"type":"video","url":"https://a.example/v"}]}`: {
			Prompt: "c", Images: []string{"https://a.example/f"},
		},
		`{"multi_prompt":[{"index":1,"prompt":"d"},{"index":2,"prompt":"e"}]}`:          {Prompt: "d / e"},
		`{"input":{"text":"f","images":["https://a.example/1","https://a.example/2"]}}`: {Prompt: "f", Images: []string{"https://a.example/1", "https://a.example/2"}},
		`no JSON`: {},
		`[1]`:     {},
	} {
		s.asks(body)
		got := ask[struct {
			Asked asked `json:"asked"`
		}](s, "/api/task?id=order").Asked
		if want.Editable == "" {
			got.Editable = ""
		}
		if want.Images == nil {
			want.Images = []string{}
		}
		if want.Kept == nil {
			want.Kept = []string{}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.80s (-want +got):\n%s", body, diff)
		}
	}
	s.asks("no JSON")
	prompts := ask[map[string]string](s, "/api/prompts?id=order&id=nothing")
	s.asks(`{"prompt":"` + large + `"}`)
	if got := ask[map[string]string](s, "/api/prompts?id=order&id=nothing"); len(prompts) != 0 || len(got) != 1 || len(got["order"]) > 300 {
		t.Errorf("prompts %v, then %d and %d bytes", prompts, len(got), len(got["order"]))
	}
}

// TestAgainSendsWhatWasChanged replaces what differs in more than its spaces, and takes nothing out.
func TestAgainSendsWhatWasChanged(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{})
	s.asks(`{"image":"` + strings.Repeat("A", 5<<10) + `","prompt":"a", "cfg_scale":0.50,"o":{"a":1}}`)
	for body, want := range map[string]map[string]json.RawMessage{
		"": nil,
		`{"prompt":"a","cfg_scale":0.50,"o":{ "a": 1 }}`:              {},
		`{"prompt":"b","cfg_scale":0.50,"o":{"a":1},"duration":"10"}`: {"prompt": json.RawMessage(`"b"`), "duration": json.RawMessage(`"10"`)},
		`{"prompt":"a","cfg_scale":0.5,"o":{"a":1}}`:                  {"cfg_scale": json.RawMessage(`0.5`)},
	} {
		s.source.again = nil
		if got := s.post("/api/task/again", map[string]string{"id": "order", "body": body}); got.status != http.StatusOK {
			t.Errorf("%s: status %d: %s", body, got.status, got.body)
			continue
		}
		if diff := cmp.Diff([]events.AgainQuery{{RequestID: "order", Set: want}}, s.source.again); diff != "" {
			t.Errorf("%s (-want +got):\n%s", body, diff)
		}
	}
	s.source.again = nil
	for body, says := range map[string]string{
		`{"prompt":"a","cfg_scale":0.50}`: "not taken out: o", `{"prompt":`: "no JSON object", `[1]`: "no JSON object",
		`{"prompt":"a","cfg_scale":0.50,"o":1} x`: "no JSON object",
	} {
		got := s.post("/api/task/again", map[string]string{"id": "order", "body": body})
		if got.status != http.StatusBadRequest || !strings.Contains(got.body, says) {
			t.Errorf("%s: status %d: %s", body, got.status, got.body)
		}
	}
	if len(s.source.again) > 0 {
		t.Errorf("sent %v", s.source.again)
	}
}

// post sends a form as the page does.
func (s *site) post(path string, form any) reply {
	s.t.Helper()
	data, err := json.Marshal(form)
	if err != nil {
		s.t.Fatal(err)
	}
	return send(s.t, http.MethodPost, s.url+path, map[string]string{"Content-Type": "application/json"}, string(data))
}
