package dispatch

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// TestEndedTasksAreForgotten has another replica tell how a task goes on that this one has made: its record is kept until the end,
// and not until 100,000 others have come. What no stream has stored tells nothing.
func TestEndedTasksAreForgotten(t *testing.T) {
	t.Parallel()
	p, s := testPool(accept), subjects.Default()
	f := &InFlight{
		Subjects: s, Kinds: kling.DefaultKinds(), Pools: map[kling.Pool]*Pool{kling.PoolVideo: p}, Cache: store.NewCache(10),
	}
	f.Cache.Put(&store.Record{RequestID: "a", Kind: "text2video"})
	for _, c := range []struct {
		subject, stream string
		kept            bool
	}{
		{s.Progress("text2video", events.StatusSubmitted, "a"), s.EventsStream(), true},
		{s.Completion("text2video", events.StatusSucceed, "a"), "", true},
		{s.Completion("text2video", events.StatusSucceed, "another"), s.EventsStream(), true},
		{s.Completion("text2video", events.StatusSucceed, "a"), s.EventsStream(), false},
	} {
		msg := nats.NewMsg(c.subject)
		msg.Header.Set("Nats-Stream", c.stream)
		f.follow(msg, time.Now())
		if got := f.Cache.Has("a"); got != c.kept {
			t.Errorf("after %q from stream %q it is kept: %t", c.subject, c.stream, got)
		}
	}
}
