package store

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// TestForeign tells messages of the bridge's, of this version and of a newer one, from those of others.
func TestForeign(t *testing.T) {
	const receipt = `{"stream":"KLING_REQUESTS","seq":17}`
	s := Guarded{subjects: subjects.Default()}
	for name, c := range map[string]struct {
		subject, id, body string
		header            string // Kling-Request-Id
		garbled           bool
		foreign           bool
	}{
		"completion":               {subject: "kling.completion.text2video.succeed.a", id: "a.completion", body: `{}`, foreign: false},
		"progress":                 {subject: "kling.progress.text2video.processing.a", id: "a.processing", body: `{}`, foreign: false},
		"record":                   {subject: "kling-state.pending.text2video.video.a", id: "", body: `{"request_id":"a","kind":"text2video"}`, foreign: false},
		"type of a newer version":  {subject: "kling.paused.text2video.full.a", id: "a.paused", body: `{"request_id":"a","kind":"text2video"}`, foreign: false},
		"receipt":                  {subject: "kling.completion.text2video.succeed.a", id: "", body: receipt, foreign: true},
		"receipt on another type":  {subject: "kling.paused.text2video.full.a", id: "", body: receipt, foreign: true},
		"receipt anywhere":         {subject: "a.b.c.d.a", id: "", body: receipt, foreign: true},
		"record as it is written":  {subject: "kling-state.pending.text2video.video.a", body: `{"v":3,"request_id":"a","kind":"text2video","state":""}`},
		"another record, written":  {subject: "kling-state.pending.text2video.video.a", body: `{"v":3,"request_id":"ab","kind":"text2video","state":""}`, foreign: true},
		"another kind, written":    {subject: "kling-state.pending.text2video.video.a", body: `{"v":3,"request_id":"a","kind":"effects","state":""}`, foreign: true},
		"receipt with a version":   {subject: "kling-state.pending.text2video.video.a", body: `{"v":3,"stream":"KLING_REQUESTS","seq":17}`, foreign: true},
		"record of another":        {subject: "kling-state.pending.text2video.video.a", id: "", body: `{"request_id":"b","kind":"text2video"}`, foreign: true},
		"record of another kind":   {subject: "kling-state.pending.text2video.video.a", id: "", body: `{"request_id":"a","kind":"effects"}`, foreign: true},
		"newer type about another": {subject: "kling.paused.text2video.full.a", id: "", body: `{"request_id":"b","kind":"text2video"}`, foreign: true},
		"id of another's event":    {subject: "kling.completion.text2video.succeed.a", id: "b.completion", body: receipt, foreign: true},
		"dead letter": {
			subject: "kling.dead.text2video.rejected.a", id: "a.dead", header: "a", body: `{"prompt":"x"}`,
		},
		"dead letter without a message id": {subject: "kling.dead.text2video.rejected.a", header: "a", body: `{"prompt":"x"}`},
		"dead letter of an odd request":    {subject: "kling.dead.text2video.rejected.a", garbled: true, body: `{"prompt":"x"}`},
		"dead letter of another":           {subject: "kling.dead.text2video.rejected.a", header: "b", body: `{"prompt":"x"}`, foreign: true},
		"not JSON":                         {subject: "kling.completion.text2video.succeed.a", id: "", body: `x`, foreign: true},
	} {
		t.Run(name, func(t *testing.T) {
			header := nats.Header{}
			if !c.garbled {
				header.Set(jetstream.MsgIDHeader, c.id)
				header.Set(events.HeaderRequestID, c.header)
			}
			m := &bus.Message{Subject: c.subject, Header: header, Garbled: c.garbled, Data: []byte(c.body)}
			if got := s.Foreign(m); got != c.foreign {
				t.Errorf("foreign: %v, want %v", got, c.foreign)
			}
		})
	}
}
