package events_test

import (
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/events"
)

// lossyServer connects a client over a line on which what the server sends can be lost.
type lossyServer struct {
	*natsServer
	losing atomic.Bool
}

func (s *lossyServer) InProcessConn() (net.Conn, error) {
	conn, err := s.natsServer.InProcessConn()
	if err != nil {
		return nil, err
	}
	return lossyConn{conn, &s.losing}, nil
}

type lossyConn struct {
	net.Conn
	losing *atomic.Bool
}

func (c lossyConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.losing.Load() {
			return n, err
		}
	}
}

// delivered counts what the server has sent to the one reader.
func (b *bundle) delivered() uint64 {
	b.t.Helper()
	stream, err := b.js.Stream(b.t.Context(), b.subjects.EventsStream())
	if err != nil {
		b.t.Fatal(err)
	}
	var n uint64
	for info := range stream.ListConsumers(b.t.Context()).Info() {
		n = max(n, info.Delivered.Consumer)
	}
	return n
}

// What the server sent and the client never got is read again: when the next message shows the gap, or when the
// connection comes back, for there may be no next message.
func TestWatchReadsAgainWhatWasLost(t *testing.T) {
	t.Parallel()
	for name, mend := range map[string]func(b *bundle, lossy *nats.Conn){
		"seen from the next message": func(b *bundle, _ *nats.Conn) {
			b.store(b.js, events.TypeCompletion, event("order-2", events.StatusFailed))
		},
		"seen from the connection": func(b *bundle, lossy *nats.Conn) {
			if err := lossy.ForceReconnect(); err != nil {
				b.t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			line := &lossyServer{natsServer: b.server}
			nc, _ := b.connect(nats.InProcessServer(line))
			client, err := events.NewClient(nc, b.subjects)
			if err != nil {
				t.Fatal(err)
			}
			first := make(chan string, 1)
			go func() {
				for m, err := range client.Watch(t.Context(), events.Filter{}) {
					first <- fmt.Sprint(m.Event.RequestID, err)
					return
				}
			}()
			b.eventually("somebody watches", func() bool { return b.waiting() > 0 })

			line.losing.Store(true)
			b.store(b.js, events.TypeCompletion, event("order-1", events.StatusFailed))
			b.eventually("the event was sent", func() bool { return b.delivered() > 0 })
			line.losing.Store(false)
			mend(b, nc)
			if got := <-first; got != "order-1<nil>" {
				t.Errorf("first came %s, want order-1", got)
			}
		})
	}
}
