package bus_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// system is a place to run a test on: one server, or a cluster with replicated streams.
type system struct {
	url      string
	replicas int
}

// onBoth runs a test on one server and on a cluster of three: their answers differ in places.
func onBoth(t *testing.T, test func(t *testing.T, sys system)) {
	t.Run("R1", func(t *testing.T) { test(t, system{bustest.Start(t).URL(), 1}) })
	t.Run("R3", func(t *testing.T) { test(t, system{bustest.StartCluster(t).URL(), 3}) })
}

func open(t *testing.T, url string) *bus.Bus {
	t.Helper()
	b, err := bus.Open(t.Context(), bus.Options{URL: url, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func eventsConfig(sys system) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              "EVENTS",
		Subjects:          []string{"put.>"},
		SubjectTransform:  &jetstream.SubjectTransformConfig{Source: "put.>", Destination: ">"},
		RePublish:         &jetstream.RePublish{Source: "pub.>", Destination: "pub.>"},
		Storage:           jetstream.FileStorage,
		Replicas:          sys.replicas,
		MaxAge:            time.Hour,
		Duplicates:        100 * time.Millisecond,
		AllowDirect:       true,
		AllowMsgSchedules: true,
	}
}

func message(subject, id string) *nats.Msg {
	msg := nats.NewMsg("put." + subject)
	if id != "" {
		msg.Header.Set(jetstream.MsgIDHeader, id)
	}
	return msg
}

func TestOneCompletionStored(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		ensureStream(t, b, eventsConfig(sys))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		timer := message("state.pending.a", "")
		bus.ScheduleAt(timer, time.Now().Add(time.Hour), "put.state.due.a")
		if ack, err := b.Publish(ctx, timer); err != nil || !ack.Stored {
			t.Fatalf("timer: %+v, %v", ack, err)
		}
		complete := func(status string) bus.Ack {
			msg := message("pub.done."+status+".a", "a.done")
			bus.GuardSequence(msg, "pub.done.*.a", 0)
			bus.PurgeTimer(msg, "state.pending.a")
			ack, err := b.Publish(ctx, msg)
			if err != nil {
				t.Fatalf("complete as %s: %v", status, err)
			}
			return ack
		}
		results := make(chan bus.Ack, 8)
		for i := range cap(results) {
			go func() { results <- complete(fmt.Sprintf("s%d", i%3)) }()
		}
		stored := 0
		for range cap(results) {
			if (<-results).Stored {
				stored++
			}
		}
		if stored != 1 {
			t.Errorf("%d completions stored, want 1", stored)
		}
		if _, err := b.Last(ctx, "EVENTS", "state.pending.a"); !errors.Is(err, bus.ErrNoMessage) {
			t.Errorf("timer after completion: %v, want none", err)
		}
	})
}

func TestTimerFiresOnceAndDeleteStopsIt(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		ensureStream(t, b, eventsConfig(sys))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		arm := func(id string, after time.Duration) uint64 {
			msg := message("state.pending."+id, "")
			msg.Data = []byte(id)
			bus.ScheduleAt(msg, time.Now().Add(after), "put.state.due."+id)
			ack, err := b.Publish(ctx, msg)
			if err != nil || !ack.Stored {
				t.Fatalf("arm %s: %+v, %v", id, ack, err)
			}
			return ack.Seq
		}
		withdrawn := arm("withdrawn", 500*time.Millisecond)
		if err := b.Delete(ctx, "EVENTS", withdrawn); err != nil {
			t.Fatal(err)
		}
		if err := b.Delete(ctx, "EVENTS", withdrawn); err != nil {
			t.Errorf("deleting again: %v", err)
		}
		arm("replaced", 400*time.Millisecond)
		arm("replaced", time.Hour)
		arm("fires", 700*time.Millisecond)

		c, err := b.EnsureConsumer(ctx, "EVENTS", jetstream.ConsumerConfig{
			Durable: "due", FilterSubject: "state.due.>", AckPolicy: jetstream.AckExplicitPolicy,
		})
		if err != nil {
			t.Fatal(err)
		}
		msg, err := c.Next(jetstream.FetchContext(ctx))
		if err != nil {
			t.Fatal(err)
		}
		if msg.Subject() != "state.due.fires" || string(msg.Data()) != "fires" {
			t.Errorf("fired %s with %q", msg.Subject(), msg.Data())
		}
		if _, err := c.Next(jetstream.FetchMaxWait(time.Second)); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("after the timer: %v, want nothing", err)
		}
		subjects := map[string]bool{}
		err = b.Subjects(ctx, "EVENTS", "state.>", func(s string) { subjects[s] = true })
		if want := map[string]bool{"state.pending.replaced": true, "state.due.fires": true}; err != nil || !equal(subjects, want) {
			t.Errorf("state is %v, %v; want %v", subjects, err, want)
		}
	})
}

// TestNoTimerToRemove has something else where a publish would remove a timer.
func TestNoTimerToRemove(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		ensureStream(t, b, eventsConfig(sys))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		other, err := b.Publish(ctx, message("state.pending.a", ""))
		if err != nil {
			t.Fatal(err)
		}
		msg := message("pub.done.a", "a.done")
		bus.GuardSequence(msg, "pub.done.a", 0)
		bus.PurgeTimer(msg, "state.pending.a")
		if ack, err := b.Publish(ctx, msg); !errors.Is(err, bus.ErrNoTimer) {
			t.Errorf("got %+v, %v, want ErrNoTimer", ack, err)
		}
		if err := b.Delete(ctx, "EVENTS", other.Seq); err != nil {
			t.Fatal(err)
		}
		if ack, err := b.Publish(ctx, msg); !ack.Stored || err != nil {
			t.Errorf("once it is gone: %+v, %v", ack, err)
		}
	})
}

// TestDeleteWhatIsGone deletes each of several messages again: at the ends of the stream and in its midst.
func TestDeleteWhatIsGone(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		ensureStream(t, b, eventsConfig(sys))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		const last = 5
		for i := range last {
			if _, err := b.Publish(ctx, message("pub.x", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		for _, seq := range []uint64{3, 3, 1, 1, last, last, 3, last + 1} {
			if err := b.Delete(ctx, "EVENTS", seq); err != nil {
				t.Errorf("delete %d: %v", seq, err)
			}
		}
	})
}

func equal(a, b map[string]bool) bool {
	if len(a) != len(b) {
		return false
	}
	for k := range a {
		if !b[k] {
			return false
		}
	}
	return true
}

func TestPublishWithoutServer(t *testing.T) {
	srv := bustest.Start(t)
	b := open(t, srv.URL())
	if err := b.EnsureStream(t.Context(), eventsConfig(system{replicas: 1}), ""); err != nil {
		t.Fatal(err)
	}
	srv.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	msg := message("pub.x", "x")
	bus.GuardSequence(msg, "pub.x", 0)
	if _, err := b.Publish(ctx, msg); !errors.Is(err, bus.ErrUnavailable) {
		t.Fatalf("publish without a server: %v, want ErrUnavailable", err)
	}

	srv.Restart()
	ctx, cancel = context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	ack, err := b.Publish(ctx, msg)
	if err != nil || !ack.Stored {
		t.Errorf("after the restart: %+v, %v; want it stored now and not before", ack, err)
	}
}

func TestStreamInTheWay(t *testing.T) {
	srv := bustest.Start(t)
	js, err := jetstream.New(srv.Connect())
	if err != nil {
		t.Fatal(err)
	}
	before, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: "EVENTS", Subjects: []string{"pub.>"}, Retention: jetstream.WorkQueuePolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	err = open(t, srv.URL()).EnsureStream(t.Context(), eventsConfig(system{replicas: 1}), "")
	conflict, ok := errors.AsType[*bus.ConflictError](err)
	if !ok {
		t.Fatalf("got %v, want a ConflictError", err)
	}
	for _, want := range []string{
		"retention is workqueue, want limits", "allow_msg_schedules is false, want true",
		`subjects is ["pub.>"], want ["put.>"]`,
	} {
		if !slices.Contains(conflict.Differences, want) {
			t.Errorf("differences %q lack %q", conflict.Differences, want)
		}
	}
	after, err := js.Stream(t.Context(), "EVENTS")
	if err != nil || fmt.Sprint(after.CachedInfo().Config) != fmt.Sprint(before.CachedInfo().Config) {
		t.Errorf("the stream was changed: %v", err)
	}
}

func TestStreamIsUpdated(t *testing.T) {
	b := open(t, bustest.Start(t).URL())
	config := jetstream.StreamConfig{Name: "R", Subjects: []string{"k.a"}, Retention: jetstream.WorkQueuePolicy}
	for _, subjects := range [][]string{{"k.a"}, {"k.a"}, {"k.a", "k.b"}} {
		config.Subjects = subjects
		if err := b.EnsureStream(t.Context(), config, "k."); err != nil {
			t.Fatal(err)
		}
	}
	s, err := b.JetStream().Stream(t.Context(), "R")
	if err != nil || !slices.Equal(s.CachedInfo().Config.Subjects, config.Subjects) {
		t.Errorf("subjects are %v, %v; want %v", s.CachedInfo().Config.Subjects, err, config.Subjects)
	}
}

// TestFirstMessageStays has a stream that kept the last message on a subject keep the first from now on.
func TestFirstMessageStays(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		config := jetstream.StreamConfig{
			Name: "S", Subjects: []string{"s.*"}, MaxMsgsPerSubject: 1, Duplicates: time.Minute, Replicas: sys.replicas,
		}
		if err := b.EnsureStream(ctx, config, ""); err != nil {
			t.Fatal(err)
		}
		config.Discard, config.DiscardNewPerSubject = jetstream.DiscardNew, true
		_, updates, err := b.CompareStream(ctx, config, "")
		diff := []string{"discard is discardold, want discardnew", "discard_new_per_subject is false, want true"}
		if err != nil || !slices.Equal(updates, diff) {
			t.Errorf("%q, %v, want %q", updates, err, diff)
		}
		if err := b.EnsureStream(ctx, config, ""); err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"first", "second"} {
			if err := b.Conn().Publish("s.a", []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		guarded := &nats.Msg{Subject: "s.a", Header: nats.Header{}, Data: []byte("third")}
		bus.GuardSequence(guarded, "s.a", 0)
		if ack, err := b.Publish(ctx, guarded); ack.Stored || err != nil {
			t.Errorf("a third message: %+v, %v", ack, err)
		}
		if m, err := b.Last(ctx, "S", "s.a"); err != nil || string(m.Data) != "first" {
			t.Errorf("stored is %+v, %v", m, err)
		}
		config.Discard, config.DiscardNewPerSubject = jetstream.DiscardOld, false
		err = b.EnsureStream(ctx, config, "")
		if _, ok := errors.AsType[*bus.ConflictError](err); !ok {
			t.Errorf("back to the last message: %v, want a ConflictError", err)
		}
	})
}

func TestEmbeddedServer(t *testing.T) {
	dir := t.TempDir()
	o := bus.Options{EmbeddedAddr: "127.0.0.1:0", DataDir: dir, Logger: quiet()}
	b, err := bus.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.EnsureStream(t.Context(), eventsConfig(system{replicas: 1}), ""); err != nil {
		t.Fatal(err)
	}
	if _, err := bus.Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "in use by another klingbridge") {
		t.Errorf("second server on one directory: %v", err)
	}
	nc, err := nats.Connect(b.URL())
	if err != nil {
		t.Fatalf("a second program on %s: %v", b.URL(), err)
	}
	nc.Close()
	if _, err := b.Publish(t.Context(), message("pub.kept", "kept")); err != nil {
		t.Fatal(err)
	}
	b.Close()
	b.Close()

	b, err = bus.Open(t.Context(), o)
	if err != nil {
		t.Fatalf("on the same directory again: %v", err)
	}
	defer b.Close()
	if _, err := b.Last(t.Context(), "EVENTS", "pub.kept"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestEmbeddedServerAddressTaken(t *testing.T) {
	first, err := bus.Open(t.Context(), bus.Options{EmbeddedAddr: "127.0.0.1:0", DataDir: t.TempDir(), Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	addr := strings.TrimPrefix(first.URL(), "nats://")
	_, err = bus.Open(t.Context(), bus.Options{EmbeddedAddr: addr, DataDir: t.TempDir(), Logger: quiet()})
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v, want an error that names %s", err, addr)
	}
}

func TestContextThatDoesNotExist(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "none"))
	_, err := bus.Open(t.Context(), bus.Options{Context: "nowhere", Logger: quiet()})
	if err == nil || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Errorf("got %v, want an error that names the context", err)
	}
}

func TestCompareStreamOnlyLooks(t *testing.T) {
	t.Parallel()
	b := open(t, bustest.Start(t).URL())
	want := jetstream.StreamConfig{
		Name: "S", Subjects: []string{"own.a"}, MaxAge: time.Hour, Duplicates: time.Minute, Replicas: 1,
	}
	if _, _, err := b.CompareStream(t.Context(), want, "own."); !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no stream: %v", err)
	}
	if err := b.EnsureStream(t.Context(), want, "own."); err != nil {
		t.Fatal(err)
	}
	want.Subjects, want.MaxAge = []string{"own.a", "own.b"}, 2*time.Hour
	_, updates, err := b.CompareStream(t.Context(), want, "own.")
	diff := []string{`subjects is ["own.a"], want ["own.a","own.b"]`, "max_age is 1h0m0s, want 2h0m0s"}
	if err != nil || !slices.Equal(updates, diff) {
		t.Errorf("%q, %v, want %q", updates, err, diff)
	}
	_, again, err := b.CompareStream(t.Context(), want, "own.")
	if err != nil || !slices.Equal(again, diff) {
		t.Errorf("a second look: %q, %v", again, err)
	}
	want.Retention = jetstream.WorkQueuePolicy
	_, _, err = b.CompareStream(t.Context(), want, "own.")
	if conflict, ok := errors.AsType[*bus.ConflictError](err); !ok || len(conflict.Differences) != 1 {
		t.Errorf("another retention: %v", err)
	}
}

// TestUseAfterClose has a late user find the connection closed, and nothing worse.
func TestUseAfterClose(t *testing.T) {
	b := open(t, bustest.Start(t).URL())
	b.Close()
	b.Close()
	if b.Connected() {
		t.Error("still connected")
	}
	if _, err := b.Publish(t.Context(), nats.NewMsg("late")); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("got %v", err)
	}
}

// TestLastDirect reads as the leader's API does: the newest of a subject with all that is stored of it, or that there is none.
func TestLastDirect(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		ensureStream(t, b, eventsConfig(sys))
		for _, text := range []string{"older", "newest"} {
			msg := message("completion.direct", text)
			msg.Data = []byte(text)
			msg.Header.Set("Nats-Subject", "its own")
			if _, err := b.Publish(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		}
		want, err := b.Last(t.Context(), "EVENTS", "completion.direct")
		if err != nil {
			t.Fatal(err)
		}
		var got *bus.Message
		eventually(t, "every server has it", func() bool { // one that follows may be behind
			got, err = b.LastDirect(t.Context(), "EVENTS", "completion.direct")
			return err == nil && got.Seq == want.Seq
		})
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if _, err := b.LastDirect(t.Context(), "EVENTS", "completion.none"); !errors.Is(err, bus.ErrNoMessage) {
			t.Errorf("of none: %v", err)
		}
		if _, err := b.LastDirect(t.Context(), "NOWHERE", "completion.none"); err == nil || errors.Is(err, bus.ErrNoMessage) {
			t.Errorf("of no stream: %v", err)
		}
	})
}
