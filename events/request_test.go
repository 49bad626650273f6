package events_test

import (
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
)

func TestNewRequest(t *testing.T) {
	t.Parallel()
	const id = "Bestellung Nr. 1"
	msg, err := events.NewRequest(events.Subjects{}, body.Raw("text-to-video", []byte(" {\"n\": 1.0}\n")), events.Options{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	if msg.Subject != "kling.request.text-to-video" || string(msg.Data) != " {\"n\": 1.0}\n" {
		t.Errorf("got %s %q, want the subject and the body untouched", msg.Subject, msg.Data)
	}
	if got, want := msg.Header.Get("Nats-Msg-Id"), events.Token(id); got != want {
		t.Errorf("message id %q, want %q", got, want)
	}
	if _, ok := msg.Header["Kling-Timeout"]; ok {
		t.Error("there is a timeout, want the bridge's default")
	}
}

// plainBody is one that does not encode itself.
type plainBody struct {
	Prompt string `json:"prompt"`
}

func (plainBody) Kind() string { return "new-kind" }

func TestNewRequestEncodesAnyBody(t *testing.T) {
	t.Parallel()
	msg, err := events.NewRequest(events.Subjects{}, plainBody{"a <b> & c"}, events.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"prompt":"a <b> & c"}`; msg.Subject != "kling.request.new-kind" || string(msg.Data) != want {
		t.Errorf("got %s %s, want %s", msg.Subject, msg.Data, want)
	}
}

type testRequest struct {
	kind string
	body []byte
	events.Options
}

func TestNewRequestRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil func(*testRequest)
		want  string // in the error
	}{
		"no kind":                 {func(r *testRequest) { r.kind = "" }, "kind"},
		"kind of two tokens":      {func(r *testRequest) { r.kind = "effects.high" }, "kind"},
		"wildcard as kind":        {func(r *testRequest) { r.kind = ">" }, "kind"},
		"unknown priority":        {func(r *testRequest) { r.Priority = "urgent" }, "priority"},
		"negative timeout":        {func(r *testRequest) { r.Timeout = -time.Second }, "timeout"},
		"id of 129 bytes":         {func(r *testRequest) { r.ID = strings.Repeat("x", 129) }, "request id"},
		"id of two lines":         {func(r *testRequest) { r.ID = "a\r\nb" }, "control characters"},
		"id that is not UTF-8":    {func(r *testRequest) { r.ID = "\xff" }, "UTF-8"},
		"id that ends in a space": {func(r *testRequest) { r.ID = "a " }, "space"},
		"empty metadata name":     {func(r *testRequest) { r.Metadata = map[string]string{"": "x"} }, "metadata"},
		"metadata with a colon":   {func(r *testRequest) { r.Metadata = map[string]string{"a:b": "x"} }, "metadata"},
		"metadata of two lines":   {func(r *testRequest) { r.Metadata = map[string]string{"a": "x\ny"} }, "metadata a"},
		"no body":                 {func(r *testRequest) { r.body = nil }, "body"},
		"body that is no JSON":    {func(r *testRequest) { r.body = []byte(`{"a":`) }, "body"},
		"body of two objects":     {func(r *testRequest) { r.body = []byte(`{}{}`) }, "body"},
		"body that is no object":  {func(r *testRequest) { r.body = []byte(`null`) }, "body"},
		"body that is not UTF-8":  {func(r *testRequest) { r.body = []byte("{\"a\":\"\xff\"}") }, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := testRequest{"text2video", []byte(`{}`), events.Options{ID: "order-42"}}
			tt.spoil(&r)
			if _, err := events.NewRequest(events.Subjects{}, body.Raw(r.kind, r.body), r.Options); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

func TestNewRequestTakesTheLongestID(t *testing.T) {
	t.Parallel()
	if _, err := events.NewRequest(events.Subjects{}, textBody, events.Options{ID: strings.Repeat("x", events.MaxRequestID)}); err != nil {
		t.Error(err)
	}
}
