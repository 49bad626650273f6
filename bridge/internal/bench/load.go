package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// connections is how many callbacks are under way at a time.
const connections = 64

// shot is one callback, ready to be written to a connection.
type shot struct {
	addr string
	id   string // token of the request it is about
	raw  []byte
}

func newShot(addr, path, id string, body []byte) shot {
	var raw bytes.Buffer
	fmt.Fprintf(&raw, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json; charset=utf-8\r\n", path, addr)
	fmt.Fprintf(&raw, "User-Agent: Apache-HttpClient/4.5.13\r\nContent-Length: %d\r\n\r\n", len(body))
	raw.Write(body)
	return shot{addr: addr, id: id, raw: raw.Bytes()}
}

// callbackBytes is the size of a callback's body.
const callbackBytes = 1024

// finished is what Kling calls back when a task has ended well.
func finished(t task) []byte {
	const format = `{"task_id":"%s","task_status":"succeed","task_info":{"external_task_id":"%s"},` +
		`"task_result":{"images":[],"videos":[{"id":"871000000000000777","url":"https://v15-kling-fdl.klingai.com/bs2/%s",` +
		`"duration":"5.1"}],"audios":[]},"task_status_msg":"","final_unit_deduction":"3","created_at":%d,"updated_at":%d}`
	now := time.Now().UnixMilli()
	bare := fmt.Sprintf(format, t.id, t.externalID, "", now-1000, now)
	padding := bytes.Repeat([]byte{'x'}, max(callbackBytes-len(bare), 0))
	return fmt.Appendf(nil, format, t.id, t.externalID, padding, now-1000, now)
}

// gun is one connection that makes one request at a time. It costs far less than net/http's client, so that on a small
// machine more of the CPU is left to what is measured.
type gun struct {
	conn   net.Conn
	reader *bufio.Reader
}

func openGun(ctx context.Context, addr string) (*gun, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &gun{conn: conn, reader: bufio.NewReader(conn)}, nil
}

func (g *gun) close() { _ = g.conn.Close() }

// fire sends one request and returns when it was handed to the system, in one piece, and when it was answered 2xx.
func (g *gun) fire(s shot) (sent, answered time.Time, err error) {
	if err := g.conn.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		return sent, answered, err
	}
	sent = time.Now()
	if _, err := g.conn.Write(s.raw); err != nil {
		return sent, answered, err
	}
	response, err := http.ReadResponse(g.reader, nil)
	if err != nil {
		return sent, answered, err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return sent, answered, err
	}
	if response.StatusCode/100 != 2 {
		return sent, answered, fmt.Errorf("callback about %s: %s", s.id, response.Status)
	}
	return sent, time.Now(), nil
}

// volley is what came of many callbacks.
type volley struct {
	elapsed   time.Duration // from the first to the last 2xx
	latencies []time.Duration
}

// fireAll sends all shots as fast as they are answered, on 64 connections. Each must be answered 2xx.
func fireAll(ctx context.Context, shots []shot) (volley, error) {
	guns := make([]*gun, 0, connections)
	defer func() {
		for _, g := range guns {
			g.close()
		}
	}()
	for range min(connections, len(shots)) {
		g, err := openGun(ctx, shots[0].addr)
		if err != nil {
			return volley{}, err
		}
		guns = append(guns, g)
	}
	v := volley{latencies: make([]time.Duration, len(shots))}
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, len(guns))
	began := time.Now()
	for _, g := range guns {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(shots)); i = next.Add(1) - 1 {
				sent, answered, err := g.fire(shots[i])
				if err != nil {
					errs <- err
					return
				}
				v.latencies[i] = answered.Sub(sent)
			}
		})
	}
	wg.Wait()
	v.elapsed = time.Since(began)
	close(errs)
	return v, <-errs
}

// quantile returns the value that a share q of all values do not exceed.
func quantile(values []time.Duration, q float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}
