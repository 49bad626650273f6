package console_test

import (
	"flag"
	"fmt"
	"net/url"
	"runtime"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/console"
	"github.com/klingbridge/klingbridge/events"
)

var searched = flag.Int("console.searched", 20_000, "requests to search among")

type answer struct {
	Task    *events.Task `json:"task"`
	By      string       `json:"by"`
	Reading bool         `json:"reading"`
	Index   struct{ Read, Of uint64 }
}

// search asks until the index is complete, as the page does, and checks that no question begins anew and that reading goes
// on: how long all of it takes is the machine's affair.
func (s *site) search(words string) answer {
	s.t.Helper()
	began, asked, read := time.Now(), 0, uint64(0)
	progress := began
	for {
		asked++
		a := ask[answer](s, "/api/search?q="+url.QueryEscape(words))
		if a.Task != nil || !a.Reading {
			s.t.Logf("search %q: %s, asked %d times", words, time.Since(began).Round(time.Microsecond), asked)
			return a
		}
		if a.Index.Read > read {
			progress = time.Now()
		}
		if a.Index.Read < read || time.Since(progress) > patience {
			s.t.Fatalf("search %q does not come to an end: %+v", words, a)
		}
		read = a.Index.Read
	}
}

// TestSearchAmongMany finds requests by every id they have among many, with little memory.
func TestSearchAmongMany(t *testing.T) {
	const batch = 4_000
	many := *searched
	s := open(t, console.Options{})
	for first := 0; first < many; first += batch {
		msgs := make([]*nats.Msg, batch)
		for i := range msgs {
			n := first + i
			msgs[i] = headersOnly(fmt.Sprintf("order-%d", n), taskID(n), fmt.Sprintf("theirs.%d", n))
		}
		s.store(msgs...)
	}

	before := heap()
	for _, test := range []struct{ words, want, by string }{
		{taskID(many - 8_766), fmt.Sprintf("order-%d", many-8_766), "task id"},
		{taskID(0), "order-0", "task id"},
		{taskID(many - 1), fmt.Sprintf("order-%d", many-1), "task id"},
		{"theirs.4000", "order-4000", "external id"},
		{"kns12345-order-512", "order-512", "external id"},
		{fmt.Sprintf("order-%d", many-2), fmt.Sprintf("order-%d", many-2), "request id"},
	} {
		got := s.search(test.words)
		if got.Task == nil || got.Task.RequestID != test.want || got.By != test.by {
			t.Errorf("search %q: %+v, want %s by %s", test.words, got, test.want, test.by)
		}
	}
	if got := s.search("871999999999999999"); got.Task != nil {
		t.Errorf("found %+v, which there is not", got.Task)
	}
	allowed := int64(many) * 500
	grown := int64(heap()) - int64(before)
	t.Logf("the index of %d tasks takes %.1f MB", many, float64(grown)/(1<<20))
	if grown > allowed {
		t.Errorf("memory grew by %d bytes, want at most %d", grown, allowed)
	}

	s.store(completion("order-new", taskID(many), "theirs.new", nil))
	for _, words := range []string{taskID(many), "theirs.new"} {
		if got := s.search(words); got.Task == nil || got.Task.RequestID != "order-new" {
			t.Errorf("search %q, which is new: %+v", words, got)
		}
	}
	s.noConsumers()
}

// TestSearchForgottenEvents finds nothing where the event that an id was in has left the stream.
func TestSearchForgottenEvents(t *testing.T) {
	t.Parallel()
	s := open(t, console.Options{})
	s.store(completion("old", "871000000000000001", "", nil), completion("kept", "871000000000000002", "", nil))
	s.search("871000000000000001")
	stream, err := s.js.Stream(t.Context(), names.EventsStream())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.DeleteMsg(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	if got := s.search("871000000000000001"); got.Task != nil {
		t.Errorf("found %+v by an event that is gone", got.Task)
	}
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := s.search("871000000000000002"); got.Task != nil {
		t.Errorf("found %+v in an empty stream", got.Task)
	}
}

func taskID(n int) string { return fmt.Sprintf("871000000000%06d", n) }

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// noConsumers checks that nothing was left on the stream.
func (s *site) noConsumers() {
	s.t.Helper()
	stream, err := s.js.Stream(s.t.Context(), names.EventsStream())
	if err != nil {
		s.t.Fatal(err)
	}
	if n := stream.CachedInfo().State.Consumers; n != 0 {
		s.t.Errorf("%d consumers are left on the stream", n)
	}
}
