package dispatch

import (
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/pull"
	"github.com/klingbridge/klingbridge/bridge/request"
	"github.com/klingbridge/klingbridge/bridge/store"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// counting returns what recounts a pool of the records that a store writes.
func counting(t *testing.T, p *Pool) *InFlight {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	conn, err := bus.Open(t.Context(), bus.Options{URL: bustest.Start(t).URL(), Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	s := subjects.Default()
	config := store.EventsStream(s, time.Hour)
	config.Storage = jetstream.FileStorage
	if err := conn.EnsureStream(t.Context(), config, ""); err != nil {
		t.Fatal(err)
	}
	st := &store.Store{Bus: conn, Subjects: s, Kinds: kling.DefaultKinds(), Retention: time.Hour, Log: quiet}
	return NewInFlight(conn, st, map[kling.Pool]*Pool{kling.PoolVideo: p}, store.NewCache(10), quiet)
}

// TestRecountOfMissedRetrying has Kling fail tasks that are to be made again while the replica hears no events: they hold no slot
// any more, while the next try that this replica is about to send, and tasks that go on, keep theirs.
func TestRecountOfMissedRetrying(t *testing.T) {
	p := testPool(accept)
	f := counting(t, p)
	ctx, now := t.Context(), time.Now()
	of, slots := request.Need{N: 1, Model: "text2video"}, p.all[0].Slots
	arm := func(rec *store.Record) {
		t.Helper()
		if _, err := f.Store.Arm(ctx, rec, now.Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	begin := func(id string, retries int) *store.Record {
		t.Helper()
		rec := &store.Record{
			Version: 3, Account: kling.DefaultAccount, Retries: retries, RequestID: id, Kind: "text2video", State: store.StateSubmitted,
			Owner: 1, Attempt: 1, ExternalTaskID: id, TaskID: id, Slots: 1, RequestedAt: now, Deadline: now.Add(time.Hour),
		}
		arm(rec)
		p.hold(rec.Account, id, of, now.Add(-time.Minute))
		return rec
	}
	fail := func(rec *store.Record) {
		t.Helper()
		task := kling.Task{ID: rec.TaskID, Status: kling.StatusFailed}
		arm(rec.Failed(task, events.SourcePoll, now, now.Add(time.Hour), "fence"))
	}
	holds := func(when string, want map[string]bool) {
		t.Helper()
		if err := f.Recount(ctx); err != nil {
			t.Fatal(err)
		}
		for token, want := range want {
			if _, got := slots.need(token); got != want {
				t.Errorf("%s: %s holds a slot: %v, want %v", when, token, got, want)
			}
		}
	}
	begin("once", 0)
	begin("runs", 2)
	failed, sent := begin("failed", 2), begin("sent", 2)
	holds("all run", map[string]bool{"once": true, "runs": true, "failed": true, "sent": true})
	once, _ := slots.used.get("once")
	if runs, _ := slots.used.get("runs"); !once.final || runs.final {
		t.Error("want the records looked at again of those tasks only that may be made again")
	}
	fail(failed)
	fail(sent)
	p.ended("sent", now)
	if got := slots.reserve("sent", of, now); !got.owned {
		t.Fatalf("%+v", got)
	}
	holds("two have failed", map[string]bool{"once": true, "runs": true, "failed": false, "sent": true})
	if used, _, _ := slots.Measure(); used != 3 {
		t.Errorf("%d slots are used, want 3", used)
	}
}

// TestNextTryOfMissedRetrying has the next try of a request come while the task before it is still taken to hold a slot of an account
// that is full. It goes to the other account, on a slot of its own.
func TestNextTryOfMissedRetrying(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	share := func(account string) *Share {
		return &Share{Account: account, Slots: NewSlots(1), Pauses: NewPauses(time.Minute, quiet)}
	}
	var p *Pool
	var tried []string
	work := func(j *Job) Result {
		tried = append(tried, j.Account())
		if j.Unseat() {
			p.hold(kling.DefaultAccount, "another", j.Req.Need(), time.Now())
			return TryAgain(0)
		}
		return accept(j)
	}
	p = NewPool(kling.PoolVideo, []*Share{share(kling.DefaultAccount), share("burst")}, NewPeers(nil, "", "a"), pull.NewHolder(), quiet)
	p.Begin = doing(work)
	j := testJob(t, "again", "text2video", events.PriorityNormal)
	p.hold(kling.DefaultAccount, "again", j.Req.Need(), time.Now())
	p.add(j)
	for range 2 {
		if p.step() == nil {
			t.Fatalf("it does not start any more, after %v", tried)
		}
	}
	if want := []string{kling.DefaultAccount, "burst"}; !slices.Equal(tried, want) || !j.reserved {
		t.Errorf("tried on %v, want %v; on a slot of its own: %v", tried, want, j.reserved)
	}
}
