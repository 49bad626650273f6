package bridge_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// TestReadyOnceQuestionsReachIt holds back what tells the server of the subscriptions to questions. Somebody who read that a
// bridge was ready was once told that nobody answers.
func TestReadyOnceQuestionsReachIt(t *testing.T) {
	t.Parallel()
	server := bustest.Start(t)
	g := startGate(t, strings.TrimPrefix(server.URL(), "nats://"), "SUB kling.api.")
	w := &world{t: t, ctx: t.Context(), urls: server.URL()}
	w.startSim(setup{}.sim)
	w.connect()
	w.urls = "nats://" + g.addr
	r := w.launch(setup{})

	select {
	case <-g.pinged:
	case <-time.After(patience):
		t.Fatal("the bridge never asks the server whether it has read the subscriptions")
	}
	if status, body := get(t, r.adminURL+"/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("nobody can ask it, and it says %d %s", status, body)
	}
	g.open()
	w.waitReady(r)
	if code, _ := w.ask("task.get", "nobody"); code != "404" {
		t.Errorf("got %s, want 404", code)
	}
}

// gate is a way to a NATS server that holds back what the client sends from some text on.
type gate struct {
	addr   string
	pinged chan struct{} // closed once a PING is held back
	open   func()        // lets everything pass
	opened chan struct{}
	shut   string
}

func startGate(t *testing.T, server, shut string) *gate {
	t.Helper()
	l := listenLocal(t)
	g := &gate{addr: l.Addr().String(), pinged: make(chan struct{}), opened: make(chan struct{}), shut: shut}
	g.open = sync.OnceFunc(func() { close(g.opened) })
	pinged := sync.OnceFunc(func() { close(g.pinged) })
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { g.join(ctx, client, server, pinged) })
		}
	})
	t.Cleanup(func() {
		cancel()
		g.open()
		_ = l.Close()
		running.Wait()
	})
	return g
}

// join passes bytes between a client and the server until one of them, or ctx, ends.
func (g *gate) join(ctx context.Context, client net.Conn, server string, pinged func()) {
	defer func() { _ = client.Close() }()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _, _ = client.Close(), conn.Close() })
	defer stop()
	var back sync.WaitGroup
	back.Go(func() { _, _ = io.Copy(client, conn) })
	g.pass(conn, client, pinged)
	_ = conn.Close()
	back.Wait()
}

func (g *gate) pass(server io.Writer, client io.Reader, pinged func()) {
	chunks := make(chan []byte)
	go func() {
		defer close(chunks)
		for {
			chunk := make([]byte, 4<<10)
			n, err := client.Read(chunk)
			if err != nil {
				return
			}
			chunks <- chunk[:n]
		}
	}()
	var held []byte
	var opened chan struct{} // nil: nothing is held back
	for {
		select {
		case chunk, ok := <-chunks:
			held = append(held, chunk...)
			switch {
			case !ok:
				return
			case opened == nil && !bytes.Contains(held, []byte(g.shut)):
				_, _ = server.Write(held) // what fails here fails at the next read
				held = held[:0]
			default:
				opened = g.opened
				if _, after, _ := bytes.Cut(held, []byte(g.shut)); bytes.Contains(after, []byte("PING\r\n")) {
					pinged()
				}
			}
		case <-opened:
			_, _ = server.Write(held)
			for chunk := range chunks {
				_, _ = server.Write(chunk)
			}
			return
		}
	}
}
