package bustest

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
)

// Stub connects to what stands for a server in benchmarks: it takes every publish for stored, keeps nothing, and needs no
// memory for one. The connection is closed when the test ends.
func Stub(tb testing.TB) *nats.Conn {
	tb.Helper()
	s := &stub{}
	nc, err := nats.Connect("", nats.InProcessServer(s), nats.NoReconnect())
	if err != nil {
		tb.Fatalf("connect to the stub: %v", err)
	}
	tb.Cleanup(func() {
		nc.Close()
		s.serving.Wait()
	})
	return nc
}

type stub struct{ serving sync.WaitGroup }

// InProcessConn implements [nats.InProcessConnProvider].
func (s *stub) InProcessConn() (net.Conn, error) {
	client, server := net.Pipe()
	s.serving.Go(func() {
		defer func() { _ = server.Close() }()
		_ = answerAll(server) // until the client hangs up
	})
	return client, nil
}

// answerAll speaks as much of NATS's protocol as it takes to answer publishes with headers.
func answerAll(conn net.Conn) error {
	if _, err := fmt.Fprintf(conn, "INFO {\"server_id\":\"STUB\",\"version\":\"2.15.2\",\"headers\":true,\"max_payload\":1048576}\r\n"); err != nil {
		return err
	}
	const ack = "22\r\n{\"stream\":\"S\",\"seq\":1}\r\n"
	var inbox, sid, out []byte // of the only subscription
	in := bufio.NewReaderSize(conn, 64<<10)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		out = out[:0]
		verb, rest, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(" "))
		switch string(verb) {
		case "PING":
			out = append(out, "PONG\r\n"...)
		case "SUB":
			words := bytes.Fields(bytes.Clone(rest))
			inbox, sid = bytes.TrimSuffix(words[0], []byte("*")), words[len(words)-1]
		case "HPUB":
			_, rest, _ = bytes.Cut(rest, []byte(" "))
			reply, rest, _ := bytes.Cut(rest, []byte(" "))
			_, size, _ := bytes.Cut(rest, []byte(" "))
			n, err := strconv.Atoi(string(size))
			if err != nil {
				return err
			}
			if bytes.HasPrefix(reply, inbox) {
				out = append(append(append(append(append(append(out, "MSG "...), reply...), ' '), sid...), ' '), ack...)
			}
			if _, err := in.Discard(n + len("\r\n")); err != nil {
				return err
			}
		}
		if len(out) == 0 { // a pipe waits for a reader even so
			continue
		}
		if _, err := conn.Write(out); err != nil {
			return err
		}
	}
}
