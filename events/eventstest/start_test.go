package eventstest_test

import (
	"context"
	"errors"
	"testing"

	"github.com/klingbridge/klingbridge/events"
	"github.com/klingbridge/klingbridge/events/body"
	"github.com/klingbridge/klingbridge/events/eventstest"
)

func TestWholeSystem(t *testing.T) {
	t.Parallel()
	s := eventstest.Start(t)
	boat := body.Text2Video{ModelName: "kling-v3", Prompt: "a paper boat"}

	ev, err := s.Client.Do(t.Context(), boat, events.Options{ID: "made"})
	if err != nil || ev.Err() != nil || ev.Source != events.SourceCallback || len(ev.Result.Videos) != 1 {
		t.Errorf("made: %+v, %v", ev, err)
	}
	s.FailNext("no luck")
	ev, err = s.Client.Do(t.Context(), boat, events.Options{ID: "broken"})
	if err != nil || ev.Status != events.StatusFailed || ev.Error.Message != "no luck" {
		t.Errorf("broken: %+v, %v", ev, err)
	}
	s.LoseCallback()
	ev, err = s.Client.Do(t.Context(), boat, events.Options{ID: "unheard"})
	if err != nil || ev.Err() != nil || ev.Source != events.SourcePoll {
		t.Errorf("unheard: %+v, %v", ev, err)
	}
	refused := body.Text2Video{ModelName: "kling-v3", Prompt: "[policy]"}
	ev, err = s.Client.Do(t.Context(), refused, events.Options{ID: "refused"})
	if err != nil || ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorPolicy {
		t.Errorf("refused: %+v, %v", ev, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	left := map[string]bool{"made": true, "broken": true, "unheard": true, "refused": true}
	how := events.Handling{AtATime: 1}
	err = s.Client.HandleWith(ctx, "videos", events.Filter{FromStart: true}, how, func(_ context.Context, m events.Message) error {
		if delete(left, m.Event.RequestID); len(left) == 0 {
			cancel()
		}
		return nil
	})
	if !errors.Is(err, context.Canceled) || len(left) > 0 {
		t.Errorf("handled all but %v: %v", left, err)
	}
}
