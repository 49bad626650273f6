package subjects_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

func TestSubjects(t *testing.T) {
	t.Parallel()
	s := subjects.Default()
	p, err := subjects.New("acme.film-2")
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		s.Public(): "kling.>",
		s.Pending("effects", "video", "order-42"):         "kling-state.pending.effects.video.order-42",
		s.Due("effects", "video", "order-42"):             "kling-state.due.effects.video.order-42",
		s.StateOf("order-42"):                             "kling-state.*.*.*.order-42",
		s.Records("effects"):                              "kling-state.*.effects.*.*",
		s.AllPending():                                    "kling-state.pending.>",
		s.AllDue():                                        "kling-state.due.>",
		s.SlotNews("video"):                               "kling-state.slots.video",
		s.Probe("a"):                                      "kling-state.probe.a",
		s.Setting("namespace"):                            "kling-state.setting.namespace",
		s.External("order-42"):                            "kling-state.external.request.request.request.order-42",
		s.Original(events.PriorityNormal, "order-42"):     "kling-state.original.normal.request.request.order-42",
		s.Original(events.PriorityLow, "order-42"):        "kling-state.original.low.request.request.order-42",
		s.OriginalOf("order-42"):                          "kling-state.original.*.request.request.order-42",
		s.Logout("1800000000-ABC"):                        "kling-state.logout.1800000000-ABC",
		s.AnythingOf("order-42"):                          "*.*.*.*.order-42",
		s.Put("kling.completion.effects.succeed.x"):       "kling-put.kling.completion.effects.succeed.x",
		s.SettingsStream():                                "KLING_SETTINGS",
		p.Pending("effects", "video", "order-42"):         "acme.film-2-state.pending.effects.video.order-42",
		p.AnythingOf("order-42"):                          "*.*.*.*.*.order-42",
		p.Put("acme.film-2.late.effects.failed.order-1"):  "acme.film-2-put.acme.film-2.late.effects.failed.order-1",
		p.SettingsStream():                                "ACME_FILM-2_SETTINGS",
		p.Completion("effects", events.StatusFailed, "x"): "acme.film-2.completion.effects.failed.x",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if _, err := subjects.New("a..b"); err == nil {
		t.Error("a prefix with an empty token is no error")
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	for subject, want := range map[string]subjects.Parsed{
		"kling.completion.effects.succeed.order-42": {Parsed: events.Parsed{
			Type: events.TypeCompletion, Kind: "effects", Status: events.StatusSucceed, Token: "order-42",
		}},
		"kling-state.due.effects.video.order-42": {
			Parsed: events.Parsed{Type: subjects.TypeDue, Kind: "effects", Token: "order-42"}, Pool: "video",
		},
		"kling-state.slots.video":                               {Parsed: events.Parsed{Type: subjects.TypeSlots}, Pool: "video"},
		"kling-state.external.request.request.request.order-42": {Parsed: events.Parsed{Type: subjects.TypeExternal, Token: "order-42"}},
		"kling-state.original.normal.request.request.order-42":  {Parsed: events.Parsed{Type: subjects.TypeOriginal, Token: "order-42"}},
		"kling-state.original.high.request.request.order-42": {Parsed: events.Parsed{
			Type: subjects.TypeOriginal, Priority: events.PriorityHigh, Token: "order-42",
		}},
		"kling-state.logout.1800000000-ABC": {Parsed: events.Parsed{Type: subjects.TypeLogout, Token: "1800000000-ABC"}},
	} {
		got, ok := subjects.Default().Parse(subject)
		if !ok {
			t.Errorf("%s is no subject", subject)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", subject, diff)
		}
	}
	for _, subject := range []string{
		"", "kling-state.", "kling-state.pending.effects.video", "kling-state.external.a.b", "kling-state.external.a", "kling-state.slots.*",
		"kling-state.original.order-42", "kling-state.original.urgent.request.request.order-42", "kling-state.original.low.order-42",
		"kling-state.gone.effects.video.x", "kling-put.kling.completion.effects.succeed.x", "other-state.due.effects.video.x",
	} {
		if got, ok := subjects.Default().Parse(subject); ok {
			t.Errorf("%q is parsed as %+v", subject, got)
		}
	}
}

func FuzzParseState(f *testing.F) {
	for _, subject := range []string{
		"kling-state.pending.effects.video.x", "kling-state.due.effects.video.x", "kling-state.slots.video",
		"kling-state.external.request.request.request.x", "kling-state.logout.x", "kling-state....",
		"kling-state.original.low.request.request.x", "kling-state.original.normal.request.request.x",
	} {
		f.Add(subject)
	}
	s := subjects.Default()
	f.Fuzz(func(t *testing.T, subject string) {
		p, ok := s.Parse(subject)
		if _, public := s.Subjects.Parse(subject); !ok || public {
			return
		}
		if got := build(s, p); got != subject {
			t.Errorf("%q is parsed as %+v, which makes %q", subject, p, got)
		}
	})
}

func build(s subjects.Subjects, p subjects.Parsed) string {
	switch p.Type {
	case subjects.TypePending:
		return s.Pending(p.Kind, p.Pool, p.Token)
	case subjects.TypeDue:
		return s.Due(p.Kind, p.Pool, p.Token)
	case subjects.TypeSlots:
		return s.SlotNews(p.Pool)
	case subjects.TypeExternal:
		return s.External(p.Token)
	case subjects.TypeOriginal:
		return s.Original(p.Priority, p.Token)
	case subjects.TypeLogout:
		return s.Logout(p.Token)
	default:
		return ""
	}
}
