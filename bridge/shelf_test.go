package bridge

import (
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/events"
)

// TestForeign tells messages of the bridge's, of this version and of a newer one, from those of others.
func TestForeign(t *testing.T) {
	const receipt = `{"stream":"KLING_REQUESTS","seq":17}`
	s := shelf{subjects: events.DefaultSubjects()}
	for name, c := range map[string]struct {
		subject, id, body string
		foreign           bool
	}{
		"completion":               {"kling.completion.text2video.succeed.a", "a.completion", `{}`, false},
		"progress":                 {"kling.progress.text2video.processing.a", "a.processing", `{}`, false},
		"record":                   {"kling-state.pending.text2video.video.a", "", `{"request_id":"a","kind":"text2video"}`, false},
		"type of a newer version":  {"kling.paused.text2video.full.a", "a.paused", `{"request_id":"a","kind":"text2video"}`, false},
		"receipt":                  {"kling.completion.text2video.succeed.a", "", receipt, true},
		"receipt on another type":  {"kling.paused.text2video.full.a", "", receipt, true},
		"receipt anywhere":         {"a.b.c.d.a", "", receipt, true},
		"record of another":        {"kling-state.pending.text2video.video.a", "", `{"request_id":"b","kind":"text2video"}`, true},
		"record of another kind":   {"kling-state.pending.text2video.video.a", "", `{"request_id":"a","kind":"effects"}`, true},
		"newer type about another": {"kling.paused.text2video.full.a", "", `{"request_id":"b","kind":"text2video"}`, true},
		"id of another's event":    {"kling.completion.text2video.succeed.a", "b.completion", receipt, true},
		"not JSON":                 {"kling.completion.text2video.succeed.a", "", `x`, true},
	} {
		t.Run(name, func(t *testing.T) {
			header := nats.Header{}
			header.Set(jetstream.MsgIDHeader, c.id)
			if got := s.foreign(&bus.Message{Subject: c.subject, Header: header, Data: []byte(c.body)}); got != c.foreign {
				t.Errorf("foreign: %v, want %v", got, c.foreign)
			}
		})
	}
}
