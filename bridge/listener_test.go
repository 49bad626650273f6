package bridge_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/listener"
	"github.com/klingbridge/klingbridge/events"
)

// TestHealthProbesOfTheCallbackListener are answered to anybody, and say nothing.
func TestHealthProbesOfTheCallbackListener(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Connections: listener.Limits{ProveWithin: time.Hour}}})
	for _, test := range []struct {
		method, target string
		want           int
	}{
		{"GET", "/", 200},
		{"GET", "/healthz", 200},
		{"HEAD", "/healthz", 200},
		{"GET", "/?x=1", 200},
		{"POST", "/", 404},
		{"POST", "/healthz", 404},
		{"GET", "/healthz/", 404},
		{"GET", "/readyz", 404},
		{"GET", "/metrics", 404},
		{"GET", "//", 404},
		{"OPTIONS", "*", 404}, // recorded: 200, and the connection stayed
		{"OPTIONS", "/", 404},
		{"GET", "*", 404},
	} {
		reply := w.exchange(fmt.Sprintf("%s %s HTTP/1.1\r\nHost: b\r\n\r\n", test.method, test.target))
		if !strings.HasPrefix(reply, fmt.Sprintf("HTTP/1.1 %d ", test.want)) {
			t.Errorf("%s %s: %q, want %d", test.method, test.target, reply, test.want)
		}
		if head, body, _ := strings.Cut(reply, "\r\n\r\n"); test.want == 200 && (body != "" || strings.Contains(head, "Content-Type")) {
			t.Errorf("%s %s: answered with %q", test.method, test.target, reply)
		}
	}
}

// exchange sends what it is given on a connection of its own and returns all that comes until the bridge closes it.
func (w *world) exchange(sent string) string {
	w.t.Helper()
	conn := w.stranger()
	if _, err := io.WriteString(conn, sent); err != nil {
		w.t.Fatal(err)
	}
	return w.untilClosed(conn)
}

// stranger opens a connection to the callback listener that is closed at the end of the test.
func (w *world) stranger() net.Conn {
	w.t.Helper()
	addr := strings.TrimPrefix(w.replicas[0].callbackURL, "http://")
	conn, err := new(net.Dialer).DialContext(w.ctx, "tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// untilClosed returns what comes on a connection until the bridge closes it.
func (w *world) untilClosed(conn net.Conn) string {
	w.t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		w.t.Fatal(err)
	}
	var got bytes.Buffer
	_, err := got.ReadFrom(conn)
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		w.t.Fatalf("the connection is still open after %s, with %q", patience, got.String())
	}
	return got.String()
}

// TestCompressedCallback refuses what would have to be decompressed.
func TestCompressedCallback(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	task := w.task("text2video", "packed")
	good := v1Body(task, "processing")
	for _, test := range []struct {
		url    string
		coding []string
		want   int
	}{
		{task.CallbackURL, []string{"gzip"}, 415},
		{task.CallbackURL, []string{"br"}, 415},
		{task.CallbackURL, []string{"identity, deflate"}, 415},
		{task.CallbackURL, []string{"identity", "x-anything"}, 415},
		{task.CallbackURL + "x", []string{"gzip"}, 404},
		{bare(task.CallbackURL), []string{"gzip"}, 404}, // adoption is off
		{task.CallbackURL, []string{"Identity"}, 200},
		{task.CallbackURL, []string{""}, 200},
	} {
		got := w.do(http.MethodPost, test.url, good, http.Header{"Content-Encoding": test.coding})
		if got.status != test.want {
			t.Errorf("%q to %s: got %d, want %d", test.coding, test.url, got.status, test.want)
		}
		if takes := got.header.Get("Accept-Encoding"); test.want == 415 && takes != "identity" {
			t.Errorf("%q: it says that it takes %q", test.coding, takes)
		}
	}
}

// TestCompressedAdoption refuses it for tasks of others too.
func TestCompressedAdoption(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Adopt: true}})
	url := w.replicas[0].callbackURL + "/callbacks/text2video"
	if got := w.do(http.MethodPost, url, `{}`, http.Header{"Content-Encoding": {"gzip"}}).status; got != http.StatusUnsupportedMediaType {
		t.Errorf("got %d, want 415", got)
	}
}

// TestHTTP2 takes callbacks over HTTP/2, with TLS and without.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	t.Run("h2c", func(t *testing.T) {
		t.Parallel()
		w := start(t, setup{sim: silent()})
		w.useHTTP2(w.replicas[0].callbackURL, nil)
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		serverTLS, clientTLS := certificate(t)
		w := start(t, setup{sim: silent(), bridge: bridge.Options{CallbackTLS: serverTLS, PublicURL: "https://bridge.example"}})
		w.useHTTP2(strings.Replace(w.replicas[0].callbackURL, "http:", "https:", 1), clientTLS)
	})
}

// certificate is one for this machine, and what trusts it.
func certificate(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{Certificates: s.TLS.Certificates}, &tls.Config{RootCAs: pool}
}

// useHTTP2 has a callback refused, another answered with progress and one with the end of its task, on one connection.
func (w *world) useHTTP2(base string, clientTLS *tls.Config) {
	w.t.Helper()
	task := w.task("text2video", "two")
	_, path, _ := strings.Cut(task.CallbackURL, "/callbacks/")
	protocols := new(http.Protocols)
	protocols.SetHTTP2(clientTLS != nil)
	protocols.SetUnencryptedHTTP2(clientTLS == nil)
	transport := &http.Transport{Protocols: protocols, TLSClientConfig: clientTLS}
	w.t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{Transport: transport, Timeout: patience}
	for _, test := range []struct {
		url, body string
		want      int
	}{
		{base + "/healthz", "", 405 /* of a probe */},
		{base + "/callbacks/" + path, v1Body(task, "processing"), 200},
		{base + "/callbacks/" + path + "x", v1Body(task, "succeed"), 404},
		{base + "/callbacks/" + path, "no JSON", 400},
		{base + "/callbacks/" + path, v1Body(task, "succeed"), 200},
	} {
		req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, test.url, strings.NewReader(test.body))
		if err != nil {
			w.t.Fatal(err)
		}
		if test.body == "" {
			req.Method, test.want = http.MethodGet, http.StatusOK
		}
		resp, err := client.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != test.want || resp.ProtoMajor != 2 {
			w.t.Errorf("%s: %s %d, want HTTP/2 and %d", test.url, resp.Proto, resp.StatusCode, test.want)
		}
	}
	if ev := w.await("two"); ev.Status != events.StatusSucceed || ev.Source != events.SourceCallback {
		w.t.Errorf("got %s by %s", ev.Status, ev.Source)
	}
}

// TestHTTP2Bounds tells what one connection may take up, and closes one that announces more: its memory would be there
// before the frame.
func TestHTTP2Bounds(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{Connections: listener.Limits{ProveWithin: time.Hour}}})
	c := w.idleHTTP2(w.stranger())
	frame, err := c.framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v", frame)
	}
	for id, most := range map[http2.SettingID]uint32{http2.SettingMaxConcurrentStreams: 100, http2.SettingMaxFrameSize: 16 << 10} {
		if value, set := settings.Value(id); !set || value > most {
			t.Errorf("%v is %d, want at most %d", id, value, most)
		}
	}
	header := []byte{0x10, 0, 0, byte(http2.FrameData), 0, 0, 0, 0, 1} // 1 MiB on stream 1
	if _, err := c.conn.Write(header); err != nil {
		t.Fatal(err)
	}
	w.untilClosed(c.conn)
}
