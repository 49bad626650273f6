package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/doctor"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
	"github.com/klingbridge/klingbridge/bridge/subjects"
	"github.com/klingbridge/klingbridge/events"
)

// nowhere is where nobody listens.
const nowhere = "127.0.0.1:1"

// env is an environment in which everything is in order until a test breaks it. No bridge runs in it.
type env struct {
	t       *testing.T
	environ map[string]string
}

func newEnv(t *testing.T, change ...func(*server.Options)) *env {
	t.Helper()
	w := &env{t, freePorts(t)}
	w.set("NATS_URL", bustest.Start(t, change...).URL())
	w.set("KLING_BASE_URL", klingtest.Start(t, klingtest.Options{APIKeys: []string{"good"}}).URL)
	w.set("KLING_API_KEY", "good")
	return w
}

func (w *env) set(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		w.environ[pairs[i]] = pairs[i+1]
	}
}

// provision leaves behind what a bridge does: streams and settings.
func (w *env) provision() {
	w.t.Helper()
	open(w.t, w.environ, "serve").stop()
}

func (w *env) jetStream() jetstream.JetStream {
	w.t.Helper()
	nc, err := nats.Connect(w.environ["NATS_URL"])
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(nc.Close)
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	return js
}

func (w *env) createStream(c jetstream.StreamConfig) {
	w.t.Helper()
	if _, err := w.jetStream().CreateStream(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

// serves runs a web server and makes it the public URL.
func (w *env) serves(status int, header http.Header, body string) {
	web := httptest.NewServer(answering(status, header, body))
	w.t.Cleanup(web.Close)
	w.set("BRIDGE_PUBLIC_URL", web.URL, "BRIDGE_CALLBACK_SECRET", "shared")
}

func answering(status int, header http.Header, body string) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		maps.Copy(rw.Header(), header)
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, body)
	})
}

// klingAt replaces Kling by one whose clock is off.
func (w *env) klingAt(off time.Duration) {
	sim, err := klingtest.New(klingtest.Options{
		APIKeys: []string{"good"}, AccessKey: "ak", SecretKey: "sk",
		Now: func() time.Time { return time.Now().Add(off) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	web := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
		sim.ServeHTTP(rw, r)
	}))
	w.t.Cleanup(func() {
		sim.Close()
		web.Close()
	})
	w.set("KLING_BASE_URL", web.URL)
}

// klingStands replaces Kling by one for which no time passes between two questions.
func (w *env) klingStands() {
	now := time.Now()
	standing := klingtest.Options{APIKeys: []string{"good"}, Now: func() time.Time { return now }}
	w.set("KLING_BASE_URL", klingtest.Start(w.t, standing).URL)
}

// completions stores some as a bridge would.
func (w *env) completions(source events.Source, n int) {
	w.t.Helper()
	js, s := w.jetStream(), subjects.Default()
	for i := range n {
		msg := nats.NewMsg(s.Put(s.Completion("text2video", events.StatusSucceed, fmt.Sprintf("%s-%d", source, i))))
		msg.Header.Set(events.HeaderSource, string(source))
		if _, err := js.PublishMsg(w.t.Context(), msg); err != nil {
			w.t.Fatal(err)
		}
	}
}

// ask runs doctor.
func (w *env) ask() (diagnosis, outcome) {
	w.t.Helper()
	got := execute(w.t.Context(), w.environ, "", "doctor", "--json")
	var d diagnosis
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil {
		w.t.Fatalf("%v:\n%s%s", err, got.stdout, got.stderr)
	}
	if want := map[bool]int{true: 1, false: 0}[d.Faults > 0]; got.code != want {
		w.t.Errorf("exit %d with %d faults", got.code, d.Faults)
	}
	return d, got
}

// find returns the first finding of a check that says something.
func (d diagnosis) find(check, says string) (doctor.Finding, bool) {
	for _, f := range d.Findings {
		if f.Check == check && strings.Contains(f.Message, says) {
			return f, true
		}
	}
	return doctor.Finding{}, false
}

// oldServer speaks just enough of the protocol to be connected to.
func oldServer(t *testing.T) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = io.WriteString(conn, `INFO {"server_id":"x","server_name":"old","version":"2.10.3","headers":true,"max_payload":1048576}`+"\r\n")
		buffer := make([]byte, 4096)
		for said := ""; !strings.Contains(said, "PING"); {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			said += string(buffer[:n])
		}
		_, _ = io.WriteString(conn, "PONG\r\n")
		_, _ = io.Copy(io.Discard, conn) // until the client goes
	})
	t.Cleanup(func() {
		_ = l.Close()
		serving.Wait()
	})
	return "nats://" + l.Addr().String()
}

// accounts gives the bridge's user an account with limits, which may ask the servers how they sync.
func accounts(t *testing.T) func(*server.Options) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "nats.conf")
	const text = `accounts {
		SYS { exports: [{service: "$SYS.REQ.SERVER.PING.JSZ", response: stream}] }
		APP {
			jetstream: {max_streams: 4, max_consumers: 100}
			users: [{user: app, password: secret}]
			imports: [{service: {account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ"}}]
		}
	}
	system_account: SYS`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	parsed, err := server.ProcessConfigFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *server.Options) {
		o.Accounts, o.Users, o.SystemAccount = parsed.Accounts, parsed.Users, parsed.SystemAccount
	}
}

// pair uses a key pair in place of the API key.
func (w *env) pair() {
	delete(w.environ, "KLING_API_KEY")
	w.set("KLING_ACCESS_KEY", "ak", "KLING_SECRET_KEY", "sk")
}

func (w *env) login() { w.set("NATS_USER", "app", "NATS_PASSWORD", "secret") }

// holdings is every stream with its configuration and state.
func (w *env) holdings() string {
	w.t.Helper()
	var b strings.Builder
	list := w.jetStream().ListStreams(w.t.Context())
	for s := range list.Info() {
		text, err := json.Marshal([]any{s.Config, s.State})
		if err != nil {
			w.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s\n", text)
	}
	if err := list.Err(); err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}
