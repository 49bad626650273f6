package bridge_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/listener"
)

// few are limits that a test can reach. Nobody is spared, and nobody's time runs out.
func few() listener.Limits {
	return listener.Limits{Total: 24, PerAddress: 8, GiveWayAfter: time.Nanosecond, ProveWithin: time.Hour}
}

// persistent is a client that keeps its one connection.
type persistent struct {
	w         *world
	transport *http.Transport
	client    *http.Client
}

func (w *world) persistent() *persistent {
	transport := &http.Transport{MaxConnsPerHost: 1, Protocols: new(http.Protocols)}
	transport.Protocols.SetHTTP1(true)
	w.t.Cleanup(transport.CloseIdleConnections)
	return &persistent{w: w, transport: transport, client: &http.Client{Transport: transport, Timeout: patience}}
}

// post returns the answer's status and whether it came on the connection of the last one.
func (p *persistent) post(url, body string) (status int, reused bool) {
	p.w.t.Helper()
	ctx := httptrace.WithClientTrace(p.w.ctx, &httptrace.ClientTrace{
		GotConn: func(c httptrace.GotConnInfo) { reused = c.Reused },
	})
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		p.w.t.Fatal(err)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, reused
}

// callBack posts news of a task that are none, and wants them taken.
func (p *persistent) callBack(task klingtest.TaskView, wantReused bool) {
	p.w.t.Helper()
	status, reused := p.post(task.CallbackURL, v1Body(task, "processing"))
	if status != http.StatusOK || reused != wantReused {
		p.w.t.Errorf("a callback: %d, on the connection of the last one: %v, want 200, %v", status, reused, wantReused)
	}
}

// TestStrangersGiveWay fills the callback listener again and again with connections that prove nothing and stay. Recorded:
// 2,100 of the second kind, or of the third over TLS, and no callback got through any more.
func TestStrangersGiveWay(t *testing.T) {
	t.Parallel()
	limits := few()
	limits.PerAddress = 1000
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Connections: limits}})
	task := w.task("text2video", "besieged")
	_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
	kling := w.persistent()
	kling.callBack(task, false)
	for name, sent := range map[string]string{
		"nothing":          "",
		"OPTIONS *":        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"HTTP/2":           http2.ClientPreface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00", // with settings
		"half a request":   "POST /callbacks/" + path + " HTTP/1.1\r\nHost",
		"a probe":          "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n",
		"body in the wait": "POST /callbacks/" + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"wrong URL":        "GET / HTTP/1.1\r\nHost: x\r\n\r\nPOST /callbacks/x/y/z HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
	} {
		var opened []net.Conn
		for range 3 * limits.Total {
			conn := w.stranger()
			opened = append(opened, conn)
			if _, err := io.WriteString(conn, sent); err != nil {
				t.Logf("%s: %v", name, err) // it had to give way already
			}
		}
		if got := w.post(task.CallbackURL, v1Body(task, "processing")); got != http.StatusOK {
			t.Errorf("%s: a callback on a new connection: %d", name, got)
		}
		kling.callBack(task, true)
		w.untilClosed(opened[0])
	}
}

// TestStrangersGiveWayOverTLS does so with handshakes that never begin or lead to nothing.
func TestStrangersGiveWayOverTLS(t *testing.T) {
	t.Parallel()
	serverTLS, clientTLS := certificate(t)
	w := start(t, setup{sim: silent(), bridge: bridge.Options{
		CallbackTLS: serverTLS, PublicURL: "https://bridge.example", Connections: few(),
	}})
	task := w.task("text2video", "besieged")
	_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
	task.CallbackURL = strings.Replace(w.replicas[0].callbackURL, "http:", "https:", 1) + "/callbacks/" + path
	kling := w.persistent()
	kling.transport.TLSClientConfig = clientTLS.Clone()
	kling.callBack(task, false)
	speaksHTTP2 := clientTLS.Clone()
	speaksHTTP2.NextProtos, speaksHTTP2.ServerName = []string{"h2"}, "example.com"
	for range 2 * few().Total {
		w.stranger()
		conn := tls.Client(w.stranger(), speaksHTTP2)
		_, err := io.WriteString(conn, http2.ClientPreface) // after the handshake
		if err != nil {
			t.Logf("%v", err) // the machine is so slow that the time for a handshake ran out
		}
	}
	other := w.persistent()
	other.transport.TLSClientConfig = clientTLS.Clone()
	other.callBack(task, false)
	kling.callBack(task, true)
}

// TestProvenOnesGiveWayToo lets a new connection in where all have proven themselves, in place of the one whose last proof
// is the oldest.
func TestProvenOnesGiveWayToo(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Connections: few()}})
	task := w.task("text2video", "popular")
	var known []*persistent
	for range few().Total {
		known = append(known, w.persistent())
		known[len(known)-1].callBack(task, false)
	}
	known[0].callBack(task, true)
	w.persistent().callBack(task, false)
	known[0].callBack(task, true)
	known[1].callBack(task, false)
}

// TestNobodyGivesWayAtOnce has a new connection wait until somebody leaves, while all are spared, and the bridge stop while
// another one waits.
func TestNobodyGivesWayAtOnce(t *testing.T) {
	t.Parallel()
	limits := listener.Limits{Total: 4, PerAddress: 1, GiveWayAfter: time.Hour, ProveWithin: time.Hour}
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Connections: limits}})
	task := w.task("text2video", "spared")
	var all []*idleHTTP2
	for range limits.Total {
		all = append(all, w.idleHTTP2(w.stranger()))
	}
	for _, c := range all {
		c.mustLive() // so that there is no more room
	}
	waiting := w.stranger()
	if err := all[1].conn.Close(); err != nil {
		t.Fatal(err)
	}
	w.callBackOn(waiting, task)
	all[0].mustLive()
	w.stranger()
	w.replicas[0].stop()
}

// TestStrangersHaveSeconds closes what has proven nothing in time, and nothing else.
func TestStrangersHaveSeconds(t *testing.T) {
	t.Parallel()
	limits := listener.Limits{ProveWithin: 500 * time.Millisecond}
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Connections: limits}})
	task := w.task("text2video", "timed")
	kling, proxy := w.persistent(), w.persistent()
	proxy.transport.Protocols = new(http.Protocols)
	proxy.transport.Protocols.SetUnencryptedHTTP2(true)
	kling.callBack(task, false)
	proxy.callBack(task, false)
	silent, idle := w.stranger(), w.idleHTTP2(w.stranger())
	w.untilClosed(silent)
	w.untilClosed(idle.conn)
	kling.callBack(task, true)
	proxy.callBack(task, true)
}

// idleHTTP2 is a connection on which HTTP/2 is spoken and nothing asked. By itself the server would leave it open for long.
type idleHTTP2 struct {
	w      *world
	conn   net.Conn
	framer *http2.Framer
}

func (w *world) idleHTTP2(conn net.Conn) *idleHTTP2 {
	w.t.Helper()
	c := &idleHTTP2{w, conn, http2.NewFramer(conn, conn)}
	_, err := io.WriteString(conn, http2.ClientPreface)
	if err = errors.Join(err, c.framer.WriteSettings()); err != nil {
		w.t.Fatal(err)
	}
	return c
}

// mustLive has a ping answered.
func (c *idleHTTP2) mustLive() {
	c.w.t.Helper()
	err := errors.Join(c.conn.SetDeadline(time.Now().Add(patience)), c.framer.WritePing(false, [8]byte{1}))
	for err == nil {
		var frame http2.Frame
		frame, err = c.framer.ReadFrame()
		if ping, ok := frame.(*http2.PingFrame); ok && ping.IsAck() {
			return
		}
	}
	c.w.t.Errorf("the connection does not live: %v", err)
}

// disguise is a listener whose connections seem to come from where the test says, one address for each.
type disguise struct {
	net.Listener
	ctx  context.Context
	from chan string
}

type disguised struct {
	net.Conn
	from net.Addr
}

func (c disguised) RemoteAddr() net.Addr { return c.from }

func (d *disguise) Accept() (net.Conn, error) {
	conn, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	select {
	case from := <-d.from:
		return disguised{conn, &net.TCPAddr{IP: net.ParseIP(from), Port: 1}}, nil
	case <-d.ctx.Done():
		return conn, nil
	}
}

// strangerFrom opens a connection from an address, and returns once all that came before it are known.
func (w *world) strangerFrom(d *disguise, addr string) net.Conn {
	w.t.Helper()
	conn := w.stranger()
	select {
	case d.from <- addr:
	case <-time.After(patience):
		w.t.Fatal("the connection is not accepted")
	}
	return conn
}

// TestStrangersOfOneAddress lets one address, of IPv6 one site, push out nobody's connections but its own, and those of a
// proxy that have proven themselves not even for others of the proxy's.
func TestStrangersOfOneAddress(t *testing.T) {
	t.Parallel()
	d := &disguise{Listener: listenLocal(t), ctx: t.Context(), from: make(chan string)}
	limits := listener.Limits{Total: 1000, PerAddress: 4, GiveWayAfter: time.Nanosecond, ProveWithin: time.Hour}
	w := start(t, setup{sim: silent(), bridge: bridge.Options{CallbackListener: d, Connections: limits}})
	task := w.task("text2video", "crowded")
	const proxy, somebody, site = "192.0.2.1", "192.0.2.2", "2001:db8:0:1::"
	apart, first := w.idleHTTP2(w.strangerFrom(d, somebody)), w.idleHTTP2(w.strangerFrom(d, site+"ffff"))
	var proven []net.Conn
	for range 3 * limits.PerAddress {
		conn := w.strangerFrom(d, proxy)
		w.callBackOn(conn, task)
		proven = append(proven, conn)
	}
	var attack []*idleHTTP2
	for range limits.PerAddress {
		attack = append(attack, w.idleHTTP2(w.strangerFrom(d, proxy)))
		w.idleHTTP2(w.strangerFrom(d, site+"1"))
		w.idleHTTP2(w.strangerFrom(d, "::ffff:"+proxy))
	}
	apart.mustLive()
	for _, conn := range proven {
		w.callBackOn(conn, task)
	}
	w.untilClosed(first.conn) // the site is one, whichever of its addresses comes
	w.untilClosed(attack[0].conn)
	attack[len(attack)-1].mustLive()
}

// callBackOn posts news of a task that are none on a connection, and wants them taken.
func (w *world) callBackOn(conn net.Conn, task klingtest.TaskView) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, task.CallbackURL, strings.NewReader(v1Body(task, "processing")))
	if err != nil {
		w.t.Fatal(err)
	}
	if err := req.Write(conn); err != nil {
		w.t.Fatal(err)
	}
	if reply := w.reply(conn); !strings.HasPrefix(reply, "HTTP/1.1 200 ") {
		w.t.Errorf("a callback: %q", reply)
	}
}

// reply returns what comes next on a connection.
func (w *world) reply(conn net.Conn) string {
	w.t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	data := make([]byte, 1024)
	n, err := conn.Read(data)
	if err != nil {
		w.t.Errorf("no reply: %v", err)
	}
	return string(data[:n])
}
