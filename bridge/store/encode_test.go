package store

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

func TestEncodeBodyKeepsWhatKlingSent(t *testing.T) {
	t.Parallel()
	at := events.At(time.Date(2026, 11, 23, 9, 0, 0, 123456789, time.UTC))
	ev := events.Event{
		RequestID: "order-42", Kind: "text2video", Status: events.StatusSucceed, Source: events.SourceCallback,
		RequestedAt: at, PublishedAt: at, CompletedAt: &at, Metadata: map[string]string{},
		Result: &events.Result{
			Videos: []events.Video{{URL: "https://cdn.example/a.mp4?x=1&y=2", DurationSeconds: "5.1"}},
			Images: []events.Image{}, Audios: []events.Audio{}, Files: []events.File{}, ExpiresAt: at,
		},
		Kling: json.RawMessage(`{"task_id":"871","n":1.50,"big":871000000000000101,"url":"https://a/?x=1&y=<2>"}`),
	}
	data, err := encodeEvent(nil, &ev)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		string(ev.Kling), `"url":"https://cdn.example/a.mp4?x=1&y=2"`, `"duration_seconds":5.1`,
	} {
		if !strings.Contains(string(data), want) {
			t.Errorf("%s\nis not in\n%s", want, data)
		}
	}
	var back events.Event
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(ev, back); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
}

func TestSetCloudEvent(t *testing.T) {
	t.Parallel()
	ev := events.Event{
		RequestID: `100% "Köln"`, Status: events.StatusSubmitted,
		PublishedAt: events.At(time.Date(2026, 11, 23, 9, 0, 0, 123456789, time.UTC)),
	}
	d := bus.NewDraft("x")
	defer d.Release()
	setCloudEvent(d, subjects.Default(), &ev, "x.submitted")
	want := nats.Header{
		"ce-specversion": {"1.0"},
		"ce-id":          {"x.submitted"},
		"ce-source":      {"/klingbridge/kling"},
		"ce-type":        {"ai.kling.task.submitted"},
		"ce-subject":     {"100%25%20%22K%C3%B6ln%22"},
		"ce-time":        {"2026-11-23T09:00:00.123Z"},

		"ce-datacontenttype": {"application/json"},
		"ce-dataschema":      {"https://raw.githubusercontent.com/klingbridge/klingbridge/main/events/schema/event.schema.json"},
	}
	if diff := cmp.Diff(want, d.Header); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
