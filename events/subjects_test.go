package events_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/events"
)

func TestToken(t *testing.T) {
	t.Parallel()
	sixtyFour := strings.Repeat("x", 64)
	for name, tt := range map[string]struct{ id, want string }{
		"plain":             {"order-42", "order-42"},
		"all characters":    {"aZ09_-", "aZ09_-"},
		"64 bytes":          {sixtyFour, sixtyFour},
		"65 bytes":          {sixtyFour + "x", "h-9537c5fdf120482f7d58d25e9ed583f5"},
		"dot":               {"order.42", "h-dafc3bac47334234419e281f595f8f47"},
		"space":             {"order 42", "h-59096d5ad4f7817da522986575e827c4"},
		"wildcard":          {"*", "h-684888c0ebb17f374298b65ee2807526"},
		"not ASCII":         {"ö", "h-6dbd11fd012e225b28a5d94a9b432bc4"},
		"newline at an end": {"order-42\n", "h-12ca62362eb79e88541fd89e5dfa2f71"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := events.Token(tt.id); got != tt.want {
				t.Errorf("Token(%q) = %q, want %q", tt.id, got, tt.want)
			}
		})
	}
}

func FuzzToken(f *testing.F) {
	for _, id := range []string{"", "order-42", "order.42", "*", ">", "ö", "h-", "\x00\xff", "a\n"} {
		f.Add(id)
	}
	f.Add(strings.Repeat("x", 65))
	f.Fuzz(func(t *testing.T, id string) {
		token := events.Token(id)
		if !events.IsToken(token) {
			t.Errorf("Token(%q) = %q, which is none", id, token)
		}
		if again := events.Token(id); again != token {
			t.Errorf("Token(%q) = %q, then %q", id, token, again)
		}
		if events.Token(token) != token {
			t.Errorf("Token(%q) is not its own token", token)
		}
		if events.IsToken(id) && token != id {
			t.Errorf("Token(%q) = %q, want the id itself", id, token)
		}
	})
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	s := events.Subjects{}
	p, err := events.NewSubjects("acme.film-2")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		s.Request("effects", events.PriorityNormal):               "kling.request.effects",
		s.Request("effects", events.PriorityHigh):                 "kling.request.effects.high",
		s.Request("effects", events.PriorityLow):                  "kling.request.effects.low",
		s.Progress("effects", events.StatusSubmitted, "order-42"): "kling.progress.effects.submitted.order-42",
		s.Completion("effects", events.StatusSucceed, "order-42"): "kling.completion.effects.succeed.order-42",
		s.CompletionOf("order-42"):                                "kling.completion.*.*.order-42",
		s.Late("effects", events.StatusFailed, "order-42"):        "kling.late.effects.failed.order-42",
		s.LateOf("order-42"):                                      "kling.late.*.*.order-42",
		s.Archived("effects", events.StatusSucceed, "order-42"):   "kling.archived.effects.succeed.order-42",
		s.Dead("effects", events.StatusRejected, "order-42"):      "kling.dead.effects.rejected.order-42",
		s.EventsOf("order-42"):                                    "kling.*.*.*.order-42",
		s.AllRequests():                                           "kling.request.>",
		s.AllProgress():                                           "kling.progress.>",
		s.AllCompletions():                                        "kling.completion.>",
		s.AllDead():                                               "kling.dead.>",
		s.RequestsStream():                                        "KLING_REQUESTS",
		s.EventsStream():                                          "KLING_EVENTS",
		s.DeadStream():                                            "KLING_DEAD",
		s.API(events.EndpointTaskGet):                             "kling.api.task.get",
		p.Request("effects", events.PriorityNormal):               "acme.film-2.request.effects",
		p.EventsStream():                                          "ACME_FILM-2_EVENTS",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestNewSubjects(t *testing.T) {
	t.Parallel()
	if s, err := events.NewSubjects(""); err != nil || s != (events.Subjects{}) {
		t.Errorf("an empty prefix gives %v, %v", s, err)
	}
	if s, err := events.NewSubjects("kling"); err != nil || s != (events.Subjects{}) || s.Prefix() != events.DefaultPrefix {
		t.Errorf("the default prefix gives %v, %v", s, err)
	}
	for _, prefix := range []string{".", "a.", ".a", "a..b", "a b", "*", "a.>", "ö", "a\n"} {
		if _, err := events.NewSubjects(prefix); err == nil {
			t.Errorf("prefix %q is no error", prefix)
		}
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]events.Parsed{
		"kling.request.effects":      {Type: "request", Kind: "effects"},
		"kling.request.effects.high": {Type: "request", Kind: "effects", Priority: events.PriorityHigh},
		"kling.progress.effects.submitted.order-42": {
			Type: "progress", Kind: "effects", Status: events.StatusSubmitted, Token: "order-42",
		},
		"kling.archived.effects.succeed.order-42": {
			Type: "archived", Kind: "effects", Status: events.StatusSucceed, Token: "order-42",
		},
	} {
		got, ok := events.Subjects{}.Parse(subject)
		if !ok {
			t.Errorf("%s is no subject", subject)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", subject, diff)
		}
	}
	for _, subject := range []string{
		"", "kling", "kling.", "kling.request", "kling.request.", "kling.request.effects.urgent", "kling.request.*",
		"kling.request.effects.high.x", "kling.completion.effects.succeed", "kling.completion.effects.succeed.a.b",
		"kling.completion.effects..x", "kling.completion.*.*.x", "kling.completion.effects.succeed.>",
		"kling.finished.effects.succeed.x", "kling-state.pending.effects.video", "kling-state.pending.effects.video.x", "kling-state.external.a",
		"kling-put.kling.completion.effects.succeed.x", "other.completion.effects.succeed.x",
	} {
		if got, ok := (events.Subjects{}).Parse(subject); ok {
			t.Errorf("%q is parsed as %+v", subject, got)
		}
	}
}

func FuzzParseSubject(f *testing.F) {
	for _, subject := range []string{
		"kling.request.effects", "kling.request.effects.low", "kling.progress.effects.submitted.order-42",
		"kling.completion.effects.succeed.x", "kling.late.effects.failed.x", "kling.archived.effects.succeed.x",
		"kling.dead.effects.rejected.x", "kling-state.pending.effects.video.x", "kling-state.due.effects.video.x",
		"kling.completion.*.*.>", "kling...", "kling-state....", "kling.request.",
	} {
		f.Add(subject)
	}
	s := events.Subjects{}
	f.Fuzz(func(t *testing.T, subject string) {
		p, ok := s.Parse(subject)
		if !ok {
			return
		}
		if got := build(s, p); got != subject {
			t.Errorf("%q is parsed as %+v, which makes %q", subject, p, got)
		}
	})
}

func build(s events.Subjects, p events.Parsed) string {
	switch p.Type {
	case events.TypeRequest:
		return s.Request(p.Kind, p.Priority)
	case events.TypeProgress:
		return s.Progress(p.Kind, p.Status, p.Token)
	case events.TypeCompletion:
		return s.Completion(p.Kind, p.Status, p.Token)
	case events.TypeLate:
		return s.Late(p.Kind, p.Status, p.Token)
	case events.TypeArchived:
		return s.Archived(p.Kind, p.Status, p.Token)
	case events.TypeDead:
		return s.Dead(p.Kind, p.Status, p.Token)
	default:
		return ""
	}
}

func BenchmarkParse(b *testing.B) {
	s := events.Subjects{}
	subject := s.Completion("text2video", events.StatusSucceed, "order-000000042")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.Parse(subject); !ok {
			b.Fatal("not parsed")
		}
	}
}
