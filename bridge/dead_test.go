package bridge_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
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

// TestDismissOfWhatHasNotEnded asks for it where a replica has stored the letter and died before the completion: the letter may be
// all that is known of why.
func TestDismissOfWhatHasNotEnded(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: klingtest.Options{Duration: time.Hour}})
	w.submit("flies", "a lighthouse")
	w.untilStatus("flies", events.StatusSubmitted)
	letter := w.message("flies", "a lighthouse")
	letter.Subject = "kling.dead.text2video.rejected.flies"
	letter.Header.Set(events.HeaderErrorClass, string(events.ErrorInvalid))
	if _, err := w.js.PublishMsg(w.ctx, letter); err != nil {
		t.Fatal(err)
	}
	dismiss := func(id string) (status int, answer string) {
		resp, err := http.Post(w.replicas[0].adminURL+"/api/dead/dismiss", "application/json", strings.NewReader(`{"id":"`+id+`"}`))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(raw)
	}
	if status, answer := dismiss("flies"); status != http.StatusConflict || !strings.Contains(answer, "has not ended, it is submitted") {
		t.Errorf("in flight: %d %s", status, answer)
	}
	if status, _ := dismiss("nobody's"); status != http.StatusNotFound {
		t.Errorf("of nobody's: %d, want 404", status)
	}
	if w.count("KLING_DEAD", "kling.dead.*.*.flies") != 1 {
		t.Error("the letter is gone")
	}
	if err := w.sim.Finish(w.sim.Tasks()[0].ID); err != nil {
		t.Fatal(err)
	}
	w.await("flies")
	if status, answer := dismiss("flies"); status != http.StatusOK || w.count("KLING_DEAD", "kling.dead.>") != 0 {
		t.Errorf("once it has ended: %d %s", status, answer)
	}
}
