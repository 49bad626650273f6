package store

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

var raced = flag.Int("store.raced", 80, "requests whose ends race")

// shortWindow makes the duplicate window pass within a test: the guarantee must not rest on it.
const shortWindow = 200 * time.Millisecond

// newLedger provisions streams with a short duplicate window and returns a ledger on them.
func newLedger(t *testing.T, url string, replicas int) *Store {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	conn, err := bus.Open(t.Context(), bus.Options{URL: url, Logger: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	s := subjects.Default()
	config := EventsStream(s, time.Hour)
	config.Replicas, config.Storage, config.Duplicates = replicas, jetstream.FileStorage, shortWindow
	if err := conn.EnsureStream(t.Context(), config, ""); err != nil {
		t.Fatal(err)
	}
	return &Store{
		Bus: conn, Subjects: s, Kinds: kling.DefaultKinds(), Retention: time.Hour,
		Telemetry: telemetry.New(noop.NewTracerProvider(), nil), Metrics: testMetrics(t), Log: quiet,
	}
}

// endAs ends a request in one of the ways in which the racers of TestRacingCompletions want to.
func (s *Store) endAs(ctx context.Context, rec *Record, n int) (bool, error) {
	task := kling.Task{ID: "871000000000000101", Status: kling.StatusSucceed}
	switch n % 4 {
	case 0:
		return first(s.finish(ctx, rec, End{status: events.StatusSucceed, source: events.SourceCallback}, &task))
	case 1:
		task.Status = kling.StatusFailed
		return first(s.finish(ctx, rec, End{status: events.StatusFailed, source: events.SourcePoll, err: failure(task)}, &task))
	case 2:
		return s.Complete(ctx, rec, Expired())
	default:
		return first(s.finish(ctx, rec, End{status: events.StatusSucceed, source: events.SourcePoll}, &task))
	}
}

func first(n Effect, err error) (bool, error) { return n == EffectEnd, err }

// TestRacingCompletions is the heart of the promise: whatever races, one completion is stored, and it stays one after
// the duplicate window has passed and after a restart of the servers.
func TestRacingCompletions(t *testing.T) {
	t.Run("R1", func(t *testing.T) {
		srv := bustest.Start(t)
		raceCompletions(t, srv.URL(), 1, srv.Connect(), srv.Restart)
	})
	t.Run("R3", func(t *testing.T) {
		cluster := bustest.StartCluster(t)
		raceCompletions(t, cluster.URL(), 3, cluster.Servers[0].Connect(), func() {
			for _, srv := range cluster.Servers {
				srv.Restart()
			}
		})
	})
}

func raceCompletions(t *testing.T, url string, replicas int, watcher *nats.Conn, restart func()) {
	const racers = 8
	ids := *raced
	l := newLedger(t, url, replicas)
	seen := watchCompletions(t, watcher)
	records := make([]*Record, ids)
	for i := range records {
		records[i] = newTestRecord(fmt.Sprintf("race-%d", i))
	}
	each(records, func(rec *Record) {
		if _, err := l.Arm(t.Context(), rec, time.Now().Add(time.Hour)); err != nil {
			t.Errorf("arm %s: %v", rec.RequestID, err)
		}
	})

	race := func() (won int64) {
		var first atomic.Int64
		each(records, func(rec *Record) {
			var racing sync.WaitGroup
			for range racers {
				racing.Go(func() {
					ok, err := l.endAs(t.Context(), rec, rand.IntN(4))
					if err != nil {
						t.Errorf("complete %s: %v", rec.RequestID, err)
					}
					if ok {
						first.Add(1)
					}
				})
			}
			racing.Wait()
		})
		return first.Load()
	}
	// An ack that is lost to a time-out makes the winner take itself for a loser, so that fewer may know of having won.
	if won := race(); won > int64(ids) {
		t.Errorf("%d completions believe to be the first, want at most %d", won, ids)
	}
	waitForWindow(t)
	if won := race(); won != 0 {
		t.Errorf("%d completions were stored again after the duplicate window", won)
	}
	restart()
	if won := race(); won != 0 {
		t.Errorf("%d completions were stored again after a restart", won)
	}

	stored := map[string]int{}
	err := l.Bus.Subjects(t.Context(), l.Subjects.EventsStream(), l.Subjects.AllCompletions(), func(subject string) {
		p, _ := l.Subjects.Parse(subject)
		stored[p.Token]++
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, rec := range records {
		if n := stored[rec.RequestID]; n != 1 {
			t.Errorf("%s has %d completions, want 1", rec.RequestID, n)
		}
	}
	left := 0
	if err := l.Bus.Subjects(t.Context(), l.Subjects.EventsStream(), l.Subjects.AllPending(), func(string) { left++ }); err != nil || left > 0 {
		t.Errorf("%d timers are left after their completions, %v", left, err)
	}
	seen.want(t, ids)
}

func newTestRecord(id string) *Record {
	now := time.Now()
	return &Record{
		Version: Version, RequestID: id, Kind: "text2video", State: StateSubmitted, TaskID: "871000000000000101",
		ExternalTaskID: "ext-" + id, RequestedAt: now, SubmittedAt: now, Deadline: now.Add(time.Hour),
	}
}

// each calls f for every record, a few at a time.
func each(records []*Record, f func(*Record)) {
	var wg sync.WaitGroup
	next := make(chan *Record)
	for range 16 {
		wg.Go(func() {
			for rec := range next {
				f(rec)
			}
		})
	}
	for _, rec := range records {
		next <- rec
	}
	close(next)
	wg.Wait()
}

// waitForWindow returns when the duplicate window has passed.
func waitForWindow(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*shortWindow)
	defer cancel()
	<-ctx.Done()
}

// seenEvents counts what a plain subscriber gets, by subject.
type seenEvents struct {
	mu    sync.Mutex
	byID  map[string]int
	total int
	more  chan struct{}
}

func watchCompletions(t *testing.T, nc *nats.Conn) *seenEvents {
	t.Helper()
	s := &seenEvents{byID: map[string]int{}, more: make(chan struct{}, 1)}
	sub, err := nc.Subscribe("kling.completion.>", func(msg *nats.Msg) {
		s.mu.Lock()
		defer s.mu.Unlock()
		p, _ := subjects.Default().Parse(msg.Subject)
		s.byID[p.Token]++
		s.total++
		select {
		case s.more <- struct{}{}:
		default:
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return s
}

// want waits until every id was seen and fails if one was seen twice.
func (s *seenEvents) want(t *testing.T, ids int) {
	t.Helper()
	deadline := time.After(2 * time.Minute)
	for {
		s.mu.Lock()
		seen, total := len(s.byID), s.total
		s.mu.Unlock()
		if seen == ids && total == ids {
			return
		}
		if total > seen {
			t.Errorf("a plain subscriber saw %d events of %d requests", total, seen)
			return
		}
		select {
		case <-s.more:
		case <-deadline:
			t.Errorf("a plain subscriber saw %d of %d requests", seen, ids)
			return
		}
	}
}

// TestStrangersStoreNothing publishes on completion subjects without the way in.
func TestStrangersStoreNothing(t *testing.T) {
	srv := bustest.Start(t)
	l := newLedger(t, srv.URL(), 1)
	stranger := srv.Connect()
	js, err := jetstream.New(stranger)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(t.Context(), "kling.completion.text2video.succeed.forged", []byte(`{}`)); err == nil {
		t.Error("a stream took a stranger's completion")
	}
	if err := stranger.Publish("kling.completion.text2video.succeed.forged", []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if err := stranger.Flush(); err != nil {
		t.Fatal(err)
	}
	first, err := l.endAs(t.Context(), newTestRecord("forged"), 0)
	if err != nil || !first {
		t.Errorf("the real completion: first is %v, %v", first, err)
	}
}

// TestTransitions walks through every order in which the writes about one request can meet.
func TestTransitions(t *testing.T) {
	t.Run("R1", func(t *testing.T) { transitions(t, bustest.Start(t).URL(), 1) })
	t.Run("R3", func(t *testing.T) { transitions(t, bustest.StartCluster(t).URL(), 3) })
}

func transitions(t *testing.T, url string, replicas int) {
	l := newLedger(t, url, replicas)
	ctx := t.Context()
	later := time.Now().Add(time.Hour)
	rec := newTestRecord("walk")
	rec.State, rec.TaskID = StateCreating, ""
	step := func(what string, got, want bool, err error) {
		t.Helper()
		if err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", what, got, err, want)
		}
	}

	seq, ok, err := l.Intend(ctx, rec, later)
	step("intend", ok, true, err)
	_, ok, err = l.Intend(ctx, rec, later)
	step("intend again", ok, false, err)
	next, ok, err := l.Claim(ctx, rec, later, seq)
	step("claim", ok, true, err)
	_, ok, err = l.Claim(ctx, rec, later, seq)
	step("claim with the old sequence", ok, false, err)
	if err := l.Withdraw(ctx, next); err != nil {
		t.Errorf("withdraw: %v", err)
	}
	seq, ok, err = l.Intend(ctx, rec, later)
	step("intend after withdraw", ok, true, err)
	ok, err = l.Arm(ctx, rec, later)
	step("record", ok, true, err)
	_, ok, err = l.Claim(ctx, rec, later, seq)
	step("claim after record", ok, false, err)
	end := Expired()
	end.Untouched = true
	ok, err = l.Complete(ctx, rec, end)
	step("end as untouched", ok, false, err)
	ok, err = l.endAs(ctx, rec, 0)
	step("complete", ok, true, err)
	ok, err = l.endAs(ctx, rec, 1)
	step("complete as failed", ok, false, err)
	ok, err = l.Arm(ctx, rec, later)
	step("record after completion", ok, false, err)
	_, ok, err = l.Intend(ctx, rec, later)
	step("intend after completion", ok, false, err)
	if err := l.DueNow(ctx, rec); err != nil {
		t.Errorf("due after completion: %v", err)
	}
	if _, err := l.Load(ctx, rec.Token()); err == nil {
		t.Error("a record is left after the completion")
	}
}

// TestProcessingBeforeSubmitted has Kling report on a task before the replica that created it has announced it.
func TestProcessingBeforeSubmitted(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	ctx := t.Context()
	rec := newTestRecord("quick")
	task := kling.Task{ID: rec.TaskID, Status: kling.StatusProcessing}
	if n, err := l.Observe(ctx, rec, task, events.SourceCallback); n.Ended() || err != nil {
		t.Fatal(n, err)
	}
	if err := l.Announce(ctx, rec, &task); err != nil {
		t.Fatal(err)
	}
	var got []string
	err := l.Bus.Subjects(ctx, l.Subjects.EventsStream(), l.Subjects.EventsOf("quick"), func(s string) { got = append(got, s) })
	slices.Sort(got)
	want := []string{"kling.progress.text2video.processing.quick", "kling.progress.text2video.submitted.quick"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	first, err := l.Bus.Next(ctx, l.Subjects.EventsStream(), l.Subjects.EventsOf("quick"), 1)
	if err != nil || first.Subject != want[1] {
		t.Errorf("first is %+v, %v", first, err)
	}
}
