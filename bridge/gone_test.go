package bridge_test

import (
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/events"
)

// TestCompletionDeletedByHand has an operator delete a completion at once: the stream still refuses its message id. The bridge
// says so, and stores it again when the duplicate window is over. Recorded: "messages of somebody else's are in the way".
func TestCompletionDeletedByHand(t *testing.T) {
	t.Parallel()
	log := &logged{}
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Logger: slog.New(slog.NewJSONHandler(log, nil))}})
	w.edit("KLING_EVENTS", func(c *jetstream.StreamConfig) { c.Duplicates = 10 * time.Second }) // the default takes 2 min to end
	task := w.task("text2video", "deleted")
	if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusOK {
		t.Fatalf("the callback is answered %d", got)
	}
	s, err := w.js.Stream(w.ctx, "KLING_EVENTS")
	if err != nil {
		t.Fatal(err)
	}
	end, err := s.GetLastMsgForSubject(w.ctx, "kling.completion.text2video.succeed.deleted")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteMsg(w.ctx, end.Sequence); err != nil {
		t.Fatal(err)
	}
	if got := w.post(task.CallbackURL, v1Body(task, "succeed")); got != http.StatusServiceUnavailable {
		t.Errorf("the callback within the window is answered %d", got)
	}
	if !log.has("stored within the duplicate window and is gone: deleted or purged", "deleted.completion") {
		t.Error("it is not told as what it is")
	}
	if log.has("somebody else's") {
		t.Error("somebody else is blamed")
	}
	w.eventually("the completion is stored", func() bool { return w.post(task.CallbackURL, v1Body(task, "succeed")) == http.StatusOK })
	if ev := w.await("deleted"); ev.Status != events.StatusSucceed || ev.TaskID != task.ID {
		t.Errorf("%+v", ev)
	}
}
