package events_test

import (
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

func TestRequestMsg(t *testing.T) {
	t.Parallel()
	r := events.Request{Kind: "text-to-video", ID: "Bestellung Nr. 1", Body: []byte(" {\"n\": 1.0}\n")}
	msg, err := r.Msg(events.Subjects{})
	if err != nil {
		t.Fatal(err)
	}
	if msg.Subject != "kling.request.text-to-video" || string(msg.Data) != " {\"n\": 1.0}\n" {
		t.Errorf("got %s %q, want the subject and the body untouched", msg.Subject, msg.Data)
	}
	if got, want := msg.Header.Get("Nats-Msg-Id"), events.Token(r.ID); got != want {
		t.Errorf("message id %q, want %q", got, want)
	}
	if _, ok := msg.Header["Kling-Timeout"]; ok {
		t.Error("there is a timeout, want the bridge's default")
	}
}

func TestRequestMsgRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil func(*events.Request)
		want  string // in the error
	}{
		"no kind":                 {func(r *events.Request) { r.Kind = "" }, "kind"},
		"kind of two tokens":      {func(r *events.Request) { r.Kind = "effects.high" }, "kind"},
		"wildcard as kind":        {func(r *events.Request) { r.Kind = ">" }, "kind"},
		"unknown priority":        {func(r *events.Request) { r.Priority = "urgent" }, "priority"},
		"negative timeout":        {func(r *events.Request) { r.Timeout = -time.Second }, "timeout"},
		"id of 129 bytes":         {func(r *events.Request) { r.ID = strings.Repeat("x", 129) }, "request id"},
		"id of two lines":         {func(r *events.Request) { r.ID = "a\r\nb" }, "control characters"},
		"id that is not UTF-8":    {func(r *events.Request) { r.ID = "\xff" }, "UTF-8"},
		"id that ends in a space": {func(r *events.Request) { r.ID = "a " }, "space"},
		"empty metadata name":     {func(r *events.Request) { r.Metadata = map[string]string{"": "x"} }, "metadata"},
		"metadata with a colon":   {func(r *events.Request) { r.Metadata = map[string]string{"a:b": "x"} }, "metadata"},
		"metadata of two lines":   {func(r *events.Request) { r.Metadata = map[string]string{"a": "x\ny"} }, "metadata a"},
		"no body":                 {func(r *events.Request) { r.Body = nil }, "body"},
		"body that is no JSON":    {func(r *events.Request) { r.Body = []byte(`{"a":`) }, "body"},
		"body of two objects":     {func(r *events.Request) { r.Body = []byte(`{}{}`) }, "body"},
		"body that is no object":  {func(r *events.Request) { r.Body = []byte(`null`) }, "body"},
		"body that is not UTF-8":  {func(r *events.Request) { r.Body = []byte("{\"a\":\"\xff\"}") }, "body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := textRequest("order-42")
			tt.spoil(&r)
			if _, err := r.Msg(events.Subjects{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error about %q", err, tt.want)
			}
		})
	}
}

func TestRequestMsgTakesTheLongestID(t *testing.T) {
	t.Parallel()
	if _, err := textRequest(strings.Repeat("x", events.MaxRequestID)).Msg(events.Subjects{}); err != nil {
		t.Error(err)
	}
}
