package chaos_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

const (
	// returnAfter is when whoever was shown out comes back at the latest.
	returnAfter = 20 * time.Second
	// sites is from how many addresses they come, of which this machine has a whole network.
	sites = 200
)

// besieger is one who opens connections and stays.
type besieger struct {
	from  net.Addr
	opens string        // what it says first
	drips time.Duration // between the bytes that follow; zero: none do
}

// besiegers are idle ones, who prove nothing, and slow ones, of whom half know the URL of a task.
func besiegers(idle, slow int, path string) []besieger {
	first := []string{"", "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n", http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00"}
	dripped := []string{
		"POST /callbacks/text2video/x/y HTTP/1.1\r\nHost: b\r\nX-Slow: ",
		"POST " + path + " HTTP/1.1\r\nHost: b\r\nContent-Length: 262144\r\n\r\n{",
	}
	var all []besieger
	for i := range idle {
		all = append(all, besieger{from: siteOf(i), opens: first[i%len(first)]})
	}
	for i := range slow {
		all = append(all, besieger{from: siteOf(i), opens: dripped[i%len(dripped)], drips: time.Second})
	}
	return all
}

func siteOf(i int) net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%sites))} }

// besiege has idle and slow connections at the callback listener, more than it has room for, and callbacks of tasks come
// all the while, on new connections and on one that stays.
func (w *world) besiege(idle, slow int, length time.Duration) {
	w.t.Helper()
	const genuine = 10
	w.ask(genuine, fatePlain)
	w.eventually("every request is a task", func() bool {
		return w.count(w.subjects.RequestsStream(), w.subjects.AllRequests()) == 0
	})
	tasks := w.sim.Tasks()
	u, err := url.Parse(tasks[0].CallbackURL)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.ctx, length)
	defer cancel()
	var siege sync.WaitGroup
	var opened atomic.Int64
	for _, b := range besiegers(idle, slow, u.Path) {
		siege.Go(func() {
			rest(ctx, rand.N(length/4))
			w.stay(ctx, b, &opened)
		})
	}
	siege.Go(func() { w.callBackAnew(ctx, tasks[0]) })
	for _, task := range tasks[1:] {
		w.wait(length / genuine)
		if err := w.sim.Finish(task.ID); err != nil {
			w.t.Fatal(err)
		}
	}
	siege.Wait()
	if err := w.sim.Finish(tasks[0].ID); err != nil {
		w.t.Fatal(err)
	}
	for _, a := range w.phone.answered() {
		if a.status != http.StatusOK || a.took > answerTime {
			w.t.Errorf("a callback of a task: %d after %s", a.status, a.took)
		}
	}
	resident := w.replicas[0].mostResident()
	w.t.Logf("%d connections opened in %s, at most %d MB resident", opened.Load(), length, resident>>20)
	if resident > maxResident {
		w.t.Errorf("%d MB resident under siege, want at most %d", resident>>20, maxResident>>20)
	}
}

// callBackAnew calls back about a task again and again, each time on a connection of its own.
func (w *world) callBackAnew(ctx context.Context, task klingtest.TaskView) {
	u, err := url.Parse(task.CallbackURL)
	if err != nil {
		w.t.Error(err)
		return
	}
	u.Host = w.replicas[0].callback
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 2 * answerTime}
	var longest time.Duration
	calls := 0
	for ; ctx.Err() == nil; calls++ {
		began := time.Now()
		resp, err := client.Post(u.String(), "application/json",
			strings.NewReader(`{"task_id":"`+task.ID+`","task_status":"processing"}`))
		took := time.Since(began)
		longest = max(longest, took)
		switch {
		case err != nil:
			w.t.Errorf("a callback on a new connection: %v", err)
		case resp.StatusCode != http.StatusOK || took > answerTime:
			answer, _ := io.ReadAll(resp.Body) // it only adds to what is said
			w.t.Errorf("a callback on a new connection: %d %q after %s, %v\n%s", resp.StatusCode, answer, took, resp.Header, w.logs("callback"))
		}
		if err == nil {
			_ = resp.Body.Close()
		}
		w.wait(5 * tick)
	}
	w.t.Logf("%d callbacks on new connections, the longest took %s", calls, longest)
}

// stay opens a connection, and another one whenever it was shown out.
func (w *world) stay(ctx context.Context, b besieger, opened *atomic.Int64) {
	dialer := net.Dialer{LocalAddr: b.from}
	for ctx.Err() == nil {
		conn, err := dialer.DialContext(ctx, "tcp", w.replicas[0].callback)
		if err == nil {
			opened.Add(1)
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			b.linger(ctx, conn)
			stop()
			_ = conn.Close() // it is closed already when the siege is over
		}
		rest(ctx, rand.N(returnAfter))
	}
}

// linger returns when the program has closed the connection.
func (b besieger) linger(ctx context.Context, conn net.Conn) {
	_, err := io.WriteString(conn, b.opens)
	for err == nil && b.drips > 0 {
		rest(ctx, b.drips)
		_, err = io.WriteString(conn, "x")
	}
	_, _ = io.Copy(io.Discard, conn) // until it is closed, whoever does it
}

func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
