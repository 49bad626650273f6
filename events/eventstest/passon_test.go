package eventstest_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

// TestPassOn copies a completion to another stream, as it came to a consumer and to a plain subscriber. As it came it is
// refused: the server keeps its condition and its timer among its headers.
func TestPassOn(t *testing.T) {
	t.Parallel()
	s := eventstest.Start(t)
	js, err := jetstream.New(s.Conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "COPIES", Subjects: []string{"copies.>"}}); err != nil {
		t.Fatal(err)
	}
	plain, err := s.Conn.SubscribeSync("kling.completion.>")
	if err != nil {
		t.Fatal(err)
	}
	if ev, err := s.Client.Do(t.Context(), body.Text2Video{ModelName: "kling-v3", Prompt: "a paper boat"}, events.Options{
		ID: "order-1", Metadata: map[string]string{"Tenant": "acme"},
	}); err != nil || ev.Err() != nil {
		t.Fatalf("%+v, %v", ev, err)
	}
	republished, err := plain.NextMsg(2 * time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	stored, err := stream.GetLastMsgForSubject(t.Context(), republished.Subject)
	if err != nil {
		t.Fatal(err)
	}
	for from, header := range map[string]nats.Header{"consumer": stored.Header, "subscriber": republished.Header} {
		if header.Get("Nats-Expected-Last-Subject-Sequence") == "" || header.Get("Nats-Scheduler") == "" {
			t.Errorf("%s: the event has no condition or timer: what PassOn is for is gone", from)
		}
		copied := &nats.Msg{Subject: "copies." + from, Data: stored.Data, Header: header}
		if _, err := js.PublishMsg(t.Context(), copied); err == nil {
			t.Errorf("%s: a copy with all headers is stored: what PassOn is for is gone", from)
		}
		copied.Header = events.PassOn(header)
		copied.Header.Set(jetstream.MsgIDHeader, from+"."+header.Get(jetstream.MsgIDHeader)) // both are the same to the stream
		if _, err := js.PublishMsg(t.Context(), copied); err != nil {
			t.Errorf("%s: a copy is refused: %v", from, err)
		}
		for name, values := range header {
			kept := !strings.HasPrefix(name, "Nats-")
			if got := copied.Header[name]; name != jetstream.MsgIDHeader && slices.Equal(got, values) != kept {
				t.Errorf("%s: %s is %q in the copy", from, name, got)
			}
		}
		if events.Metadata(copied.Header)["Tenant"] != "acme" {
			t.Errorf("%s: the copy has %v", from, copied.Header)
		}
	}
}
