package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

func connectAcker(tb testing.TB, url string) *acker {
	tb.Helper()
	nc, err := nats.Connect(url, nats.ReconnectBufSize(-1))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(nc.Close)
	a, err := newAcker(nc)
	if err != nil {
		tb.Fatal(err)
	}
	return a
}

// subscribe answers with f, and is known to the server when it returns.
func subscribe(tb testing.TB, nc *nats.Conn, subject string, f nats.MsgHandler) {
	tb.Helper()
	if _, err := nc.Subscribe(subject, f); err != nil {
		tb.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		tb.Fatal(err)
	}
}

// idleWaiters are those that can be used again; none may be left waiting.
func idleWaiters(t *testing.T, a *acker) int {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.waiting) > 0 {
		t.Errorf("%d still wait", len(a.waiting))
	}
	return len(a.idle)
}

func TestAnswersFindTheirWaiters(t *testing.T) {
	t.Parallel()
	a := connectAcker(t, bustest.Start(t).URL())
	subscribe(t, a.nc, "echo", func(m *nats.Msg) { _ = m.Respond(m.Data) })
	const askers, each = 16, 200
	var all sync.WaitGroup
	for i := range askers {
		all.Go(func() {
			for k := range each {
				want := fmt.Sprintf("%d/%d", i, k)
				got, err := a.request(t.Context(), &nats.Msg{Subject: "echo", Data: []byte(want)}, 120*time.Second)
				if err != nil || string(got) != want {
					t.Errorf("answer %q, %v; want %q", got, err, want)
				}
			}
		})
	}
	all.Wait()
	if n := idleWaiters(t, a); n > askers {
		t.Errorf("%d waiters for %d at a time: they are not used again", n, askers)
	}
}

func TestAnAnswerTooLateIsNobodys(t *testing.T) {
	t.Parallel()
	a := connectAcker(t, bustest.Start(t).URL())
	asked := make(chan *nats.Msg, 2)
	subscribe(t, a.nc, "slow", func(m *nats.Msg) { asked <- m })
	if _, err := a.request(t.Context(), nats.NewMsg("slow"), time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
		t.Fatalf("nobody answered: %v, want a time-out", err)
	}
	late := <-asked
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := a.request(ctx, nats.NewMsg("slow"), time.Hour)
		done <- err
	}()
	<-asked
	if err := late.Respond([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if err := a.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the second asker, whose waiter was the first's, got %v; want the end of its own context", err)
	}
	if n := idleWaiters(t, a); n != 1 {
		t.Errorf("%d waiters, want the one", n)
	}
}

// TestContextThatEndsAtItsDeadline waits for an answer no longer than its context lasts, though nothing tells of its end.
func TestContextThatEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	a := connectAcker(t, bustest.Start(t).URL())
	subscribe(t, a.nc, "silent", func(*nats.Msg) {})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	ctx = context.WithValue(ctx, AtDeadline{}, true)
	if _, err := a.request(ctx, nats.NewMsg("silent"), time.Hour); !errors.Is(err, nats.ErrTimeout) || ctx.Err() == nil {
		t.Errorf("nobody answered until the deadline: %v, and the context says %v", err, ctx.Err())
	}
}

func TestNobodyThere(t *testing.T) {
	t.Parallel()
	a := connectAcker(t, bustest.Start(t).URL())
	if _, err := a.request(t.Context(), nats.NewMsg("nobody"), time.Hour); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("asked nobody: %v, want no responders", err)
	}
	// What anyone may send to an inbox is no answer.
	if err := a.nc.Publish(a.inbox+"-", []byte("x")); err != nil {
		t.Fatal(err)
	}
	idleWaiters(t, a)
}

func TestALostConnectionEndsAllWaiting(t *testing.T) {
	t.Parallel()
	srv := bustest.Start(t)
	a := connectAcker(t, srv.URL())
	asked := make(chan struct{}, 8)
	subscribe(t, a.nc, "never", func(*nats.Msg) { asked <- struct{}{} })
	var all sync.WaitGroup
	for range cap(asked) {
		all.Go(func() {
			if _, err := a.request(t.Context(), nats.NewMsg("never"), time.Hour); !errors.Is(err, nats.ErrDisconnected) {
				t.Errorf("%v, want it to be told that the connection is lost", err)
			}
		})
	}
	for range cap(asked) {
		<-asked
	}
	srv.Stop()
	all.Wait()
	idleWaiters(t, a)
}

// What the server says of a stored message: "domain" is there on leaf nodes, "duplicate" where it had the message before.
func TestPlainAck(t *testing.T) {
	t.Parallel()
	tests := map[string]uint64{
		`{"stream":"KLING_EVENTS", "seq":42}`:                        42,
		`{"stream":"KLING_EVENTS","seq":9007199254740993}`:           9007199254740993,
		`{"stream":"KLING_EVENTS", "seq":42,"duplicate": true}`:      0,
		`{"stream":"KLING_EVENTS", "domain":"hub", "seq":42}`:        0,
		`{"stream":"KLING_EVENTS", "seq":0}`:                         0,
		`{"stream":"", "seq":42}`:                                    0,
		`{"stream":"KLING_EVENTS", "seq":}`:                          0,
		`{"stream":"KLING_EVENTS", "seq":4 2}`:                       0,
		`{"stream":"KLING_EVENTS"  "seq":42}`:                        0,
		`{"error":{"code":400,"err_code":10071,"description":"x"}}`:  0,
		`{"stream":"KLING_EVENTS", "seq":99999999999999999999999999`: 0,
		``: 0,
	}
	for data, want := range tests {
		if seq, ok := plainAck([]byte(data)); seq != want && ok || ok != (want > 0) {
			t.Errorf("plainAck(%s) = %d, %t; want %d", data, seq, ok, want)
		}
	}
}

// What is taken for a plain ack is one for the decoder of JSON, too.
func FuzzPlainAck(f *testing.F) {
	f.Add([]byte(`{"stream":"KLING_EVENTS", "seq":42}`))
	f.Add([]byte(`{"stream":"KLING_EVENTS", "seq":42,"duplicate": true}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		seq, ok := plainAck(data)
		if !ok || strings.ContainsFunc(string(data), func(r rune) bool { return r < ' ' }) {
			return // the server's names have no control characters
		}
		var ack struct {
			jetstream.PubAck
			Error *jetstream.APIError `json:"error"`
		}
		if err := json.Unmarshal(data, &ack); err != nil || ack.Error != nil || ack.Duplicate || ack.Stream == "" || ack.Sequence != seq {
			t.Errorf("%q taken for sequence %d; decoded %+v, %v", data, seq, ack, err)
		}
	})
}

// BenchmarkRequest compares the acker with what the client library offers for the same.
func BenchmarkRequest(b *testing.B) {
	a := connectAcker(b, bustest.Start(b).URL())
	if _, err := a.nc.Subscribe("ack", func(m *nats.Msg) { _ = m.Respond([]byte(`{"stream":"KLING_EVENTS", "seq":42}`)) }); err != nil {
		b.Fatal(err)
	}
	b.Run("acker", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.request(b.Context(), nats.NewMsg("ack"), time.Minute); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx, cancel := context.WithTimeout(b.Context(), time.Minute)
			if _, err := a.nc.RequestMsgWithContext(ctx, nats.NewMsg("ack")); err != nil {
				b.Fatal(err)
			}
			cancel()
		}
	})
}
