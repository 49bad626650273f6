package bridge_test

import (
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge"
)

// TestAdminHosts asks for what needs no token by the names that probes, Prometheus and people use, and by one that somebody
// has made to lead here.
func TestAdminHosts(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, setup{bridge: metered(t, bridge.Options{AdminHosts: []string{"Bridge.example.com"}})})
	open := w.startBridge(setup{bridge: metered(t, bridge.Options{AdminListener: l})})
	urls := map[string]string{
		"loopback": w.replicas[0].adminURL,
		"open":     strings.Replace(open.adminURL, "0.0.0.0", "127.0.0.1", 1),
	}
	for _, test := range []struct {
		site, host string
		want       int
	}{
		{"loopback", "127.0.0.1:8081", 200},
		{"loopback", "[::1]:8081", 200},
		{"loopback", "::1", 200},
		{"loopback", "LocalHost:8081", 200},
		{"loopback", "localhost.", 200},
		{"loopback", "192.0.2.7:8081", 200}, // an address is nobody's to give away
		{"loopback", "bridge.example.com", 200},
		{"loopback", "BRIDGE.example.com.:8081", 200},
		{"loopback", "evil.example:8081", 403},
		{"loopback", "127.0.0.1.evil.example", 403},
		{"loopback", "x.bridge.example.com", 403},
		{"loopback", "bridge:8081", 403},
		{"loopback", "localhost.evil.example", 403},
		{"open", "10.42.0.17:8081", 200}, // as the kubelet probes, and Prometheus asks what it has discovered
		{"open", "[2001:db8::1]:8081", 200},
		{"open", "bridge:8081", 200}, // as in Compose
		{"open", "klingbridge.media.svc:8081", 200},
		{"open", "klingbridge.media.svc.cluster.local", 200},
		{"open", "bridge.corp.internal:8081", 200},
		{"open", "evil.example:8081", 403},
		{"open", "bridge.example.com", 403}, // not set here
		{"open", "svc.evil.example", 403},
	} {
		for _, path := range []string{"/healthz", "/readyz", "/metrics"} {
			req, err := http.NewRequestWithContext(w.ctx, http.MethodGet, urls[test.site]+path, http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			req.Host, req.Close = test.host, true
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("%s of %s, asked as %s: got %d, want %d", path, test.site, test.host, resp.StatusCode, test.want)
			}
		}
	}
}

// TestAdminWithoutHost answers probes that speak HTTP/1.0, which need not name anybody.
func TestAdminWithoutHost(t *testing.T) {
	t.Parallel()
	w := start(t, setup{})
	conn, err := new(net.Dialer).DialContext(w.ctx, "tcp", strings.TrimPrefix(w.replicas[0].adminURL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write([]byte("GET /healthz HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if reply := w.untilClosed(conn); !strings.HasPrefix(reply, "HTTP/1.0 200 ") {
		t.Errorf("got %q", reply)
	}
}
