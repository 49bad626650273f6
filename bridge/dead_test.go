package bridge_test

import (
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/events"
)

// TestRepeatOfARejectedRequest repeats a rejected id with another kind and another body: the dead letter stays the one of
// the request that was rejected.
func TestRepeatOfARejectedRequest(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	w.forgetMessageIDsAfter(100 * time.Millisecond)
	began := time.Now()
	if ev := w.await(w.submit("r", "[policy]")); ev.Status != events.StatusRejected {
		t.Fatalf("got %s", ev.Status)
	}
	w.eventually("message ids are forgotten", func() bool { return time.Since(began) > 300*time.Millisecond })
	for i, kind := range []string{"image-generations", "text2video"} {
		msg := w.message("r", "another")
		msg.Subject = "kling.request." + kind
		msg.Header.Set("Nats-Msg-Id", []string{"again", "and again"}[i])
		if _, err := w.js.PublishMsg(w.ctx, msg); err != nil {
			t.Fatal(err)
		}
	}
	w.settledDown()
	dead := w.stored("KLING_DEAD", "kling.dead.>")
	if len(dead) != 1 || dead[0].Subject != "kling.dead.text2video.rejected.r" || string(dead[0].Data) != `{"prompt":"[policy]"}` {
		t.Errorf("dead letters %+v", dead)
	}
}

// forgetMessageIDsAfter shortens the duplicate window of dead letters: no promise may rest on it.
func (w *world) forgetMessageIDsAfter(d time.Duration) {
	w.t.Helper()
	s, err := w.js.Stream(w.ctx, "KLING_DEAD")
	if err != nil {
		w.t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.Duplicates = d
	if _, err := w.js.UpdateStream(w.ctx, config); err != nil {
		w.t.Fatal(err)
	}
}
