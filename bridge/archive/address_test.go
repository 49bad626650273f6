package archive_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/archive"
)

// guarded is a server on this machine that counts who gets in.
type guarded struct {
	*httptest.Server
	port string
	in   atomic.Int64
}

func newGuarded(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { g.in.Add(1) }))
	g.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			g.in.Add(1)
		}
	}
	g.Start()
	t.Cleanup(g.Close)
	_, g.port, _ = net.SplitHostPort(g.Listener.Addr().String())
	return g
}

// TestCopyRefuses tries to reach what is not public, by every name it has.
func TestCopyRefuses(t *testing.T) {
	t.Parallel()
	inside := newGuarded(t)
	redirecting := serve(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, inside.URL+"/latest/meta-data", http.StatusFound)
	})
	urls := map[string]string{
		"redirect":               redirecting + "/clip.mp4",
		"plain http":             "http://example.com/clip.mp4",
		"http to this machine":   "http://localhost:PORT/",
		"another scheme":         "ftp://example.com/clip.mp4",
		"a file":                 "file:///etc/passwd",
		"no scheme":              "example.com/clip.mp4",
		"no host":                "https:///clip.mp4",
		"opaque":                 "https:clip.mp4",
		"no URL":                 "https://[::1/clip.mp4",
		"empty":                  " ",
		"a user":                 "https://user:hunter2@example.com/clip.mp4",
		"a name of this machine": "https://localhost:PORT/",
		"in capitals":            "https://LOCALHOST:PORT/",
		"the other address":      "https://127.0.0.2:PORT/",
		"an allowed host's port": "https://127.0.0.1:PORT/",
		"IPv6 loopback":          "https://[::1]:PORT/",
		"IPv4 in IPv6":           "https://[::ffff:127.0.0.1]:PORT/",
		"the same in hex":        "https://[::ffff:7f00:1]:PORT/",
		"IPv4-compatible":        "https://[::127.0.0.1]:PORT/",
		"NAT64":                  "https://[64:ff9b::127.0.0.1]:PORT/",
		"local NAT64":            "https://[64:ff9b:1::127.0.0.1]:PORT/",
		"6to4":                   "https://[2002:7f00:1::]:PORT/",
		"unspecified":            "https://0.0.0.0:PORT/",
		"unspecified IPv6":       "https://[::]:PORT/",
		"with a zone":            "https://[fe80::1%25lo]:PORT/",
		"private 10":             "https://10.0.0.1/",
		"private 172":            "https://172.31.255.255/",
		"private 192":            "https://192.168.1.1/",
		"CGNAT":                  "https://100.64.0.1/",
		"metadata":               "https://169.254.169.254/",
		"metadata IPv6":          "https://[fd00:ec2::254]/",
		"benchmarks":             "https://198.19.0.1/",
		"multicast":              "https://224.0.0.1/",
		"multicast IPv6":         "https://[ff02::1]/",
		"broadcast":              "https://255.255.255.255/",
		"reserved":               "https://240.0.0.1/",
		"unique local":           "https://[fc00::1]/",
		"documentation":          "https://[2001:db8::1]/",
		"Teredo":                 "https://[2001:0:7f00:1::]/",
	}
	_, port, _ := strings.Cut(strings.TrimPrefix(redirecting, "http://"), ":")
	for name, raw := range urls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := open(t, "file://"+t.TempDir(), archive.Options{Allow: archive.Hosts{"127.0.0.1:" + port}}, nil)
			_, err := a.Copy(t.Context(), file(strings.ReplaceAll(raw, "PORT", inside.port)))
			if !errors.Is(err, archive.ErrRefused) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: got %v", raw, err)
			}
		})
	}
	t.Cleanup(func() {
		if n := inside.in.Load(); n > 0 {
			t.Errorf("%d connections got inside", n)
		}
	})
}

func TestHosts(t *testing.T) {
	t.Parallel()
	hosts, err := archive.ParseHosts(" 127.0.0.1:8090, Files.Example.com,,[::1]:80,[fd00::1] ")
	if err != nil || strings.Join(hosts, " ") != "127.0.0.1:8090 files.example.com [::1]:80 [fd00::1]" {
		t.Errorf("got %q, %v", hosts, err)
	}
	_, err = archive.ParseHosts("http://a,a/b,a:b,a:0,*.example.com,[::1,::1,ok")
	for _, item := range []string{"http://a", "a/b", "a:b", "a:0", "*.example.com", "[::1", "::1"} {
		if err == nil || !strings.Contains(err.Error(), `"`+item+`" is not`) {
			t.Errorf("%s is not reported: %v", item, err)
		}
	}
}
