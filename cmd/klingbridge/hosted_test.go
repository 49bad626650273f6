package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
	"github.com/klingbridge/klingbridge/bridge/doctor"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// saveContext saves a context of the nats command line for this process.
func saveContext(t *testing.T, name, text string) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", home)
	dir := filepath.Join(home, "nats", "context")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// hosted is the environment of a bridge whose tasks take no time.
func hosted(t *testing.T, pairs ...string) *env {
	t.Helper()
	w := &env{t, freePorts(t)}
	w.set("KLING_API_KEY", "good", "KLING_BASE_URL", klingtest.Start(t, klingtest.Options{APIKeys: []string{"good"}, Duration: 1}).URL)
	w.set("BRIDGE_PUBLIC_URL", "http://"+w.environ["BRIDGE_CALLBACK_ADDR"])
	w.set(pairs...)
	return w
}

// works has every sort of command use the same JetStream as the bridge.
func (w *env) works() {
	w.t.Helper()
	input := filepath.Join(w.t.TempDir(), "a.png")
	if err := os.WriteFile(input, []byte("\x89PNG"), 0o600); err != nil {
		w.t.Fatal(err)
	}
	for _, step := range []struct{ line, says string }{
		{"submit image2video --attach image=" + input + " --prompt x --id one --wait", "http"},
		{"submit text2video --prompt x --id one", ""}, // of another kind: the earlier one is found
		{"watch --id one", "succeed"},
		{"task get one", "succeed"},
		{"status", "ready"},
	} {
		got := execute(w.t.Context(), w.environ, "", strings.Fields(step.line)...)
		if earlier := strings.Contains(got.stderr, "is that of an earlier request"); earlier != (step.says == "") ||
			!earlier && got.code != 0 || !strings.Contains(got.stdout, step.says) {
			w.t.Errorf("%s: exit %d\n%s%s", step.line, got.code, got.stdout, got.stderr)
		}
	}
}

// TestDomainOfTheContext runs everything from a leaf node in the domain of its hub. Recorded: the streams were made in the
// leaf's own domain, and all was ready.
func TestDomainOfTheContext(t *testing.T) {
	hub, leaf := bustest.StartLeaf(t)
	saveContext(t, "hosted", `{"url":"`+leaf.URL()+`","jetstream_domain":"hub"}`)
	for name, environ := range map[string][]string{
		"context":  {"NATS_CONTEXT", "hosted", "BRIDGE_SUBJECT_PREFIX", "ctx"},
		"variable": {"NATS_URL", leaf.URL(), "NATS_JS_DOMAIN", "hub", "BRIDGE_SUBJECT_PREFIX", "var"},
		"prefix":   {"NATS_URL", leaf.URL(), "NATS_JS_API_PREFIX", "$JS.hub.API", "BRIDGE_SUBJECT_PREFIX", "pre"},
	} {
		t.Run(name, func(t *testing.T) {
			w := hosted(t, environ...)
			open(t, w.environ, "serve")
			w.works()
			d, got := w.ask()
			if f, ok := d.find("jetstream", "domain hub: "); !ok || f.Level != doctor.OK || d.Faults > 0 {
				t.Errorf("doctor:\n%s", got.stdout)
			}
		})
	}
	for server, want := range map[*bustest.Server]int{hub: 13, leaf: 0} { // four streams each, and a bucket
		js, err := jetstream.New(server.Connect())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for range js.StreamNames(t.Context()).Name() {
			n++
		}
		if n != want {
			t.Errorf("%d streams on %s, want %d", n, server.Name(), want)
		}
	}
}

// writeCertificate writes a certificate that vouches for itself and this address.
func writeCertificate(t *testing.T, certFile, keyFile, address string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.ParseIP(address)},
		IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writeAt(t, certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), time.Now())
	writeAt(t, keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), time.Now())
}

// TestTLSFirstAndInboxPrefix works with servers that expect the TLS handshake first, as a user who may subscribe to no
// inboxes but its own.
func TestTLSFirstAndInboxPrefix(t *testing.T) {
	ca, key := filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	srv := bustest.Start(t, func(o *server.Options) {
		writeCertificate(t, ca, key, o.Host)
		bustest.Config(t, `
			jetstream: {}
			tls: {cert_file: "`+ca+`", key_file: "`+key+`", handshake_first: true}
			authorization: {users: [{user: a, password: a, permissions: {
				subscribe: ["_INBOX_a.>", "kling.>", "kling-state.slots.*", "$SRV.>"]
			}}]}`)(o)
	})
	login := []string{"NATS_USER", "a", "NATS_PASSWORD", "a"}
	saveContext(t, "hosted", `{"url":"`+srv.URL()+`","ca":"`+ca+`","tls_first":true,"inbox_prefix":"_INBOX_a","user":"a","password":"a"}`)
	for name, environ := range map[string][]string{
		"context":   {"NATS_CONTEXT", "hosted", "BRIDGE_SUBJECT_PREFIX", "kling.ctx"},
		"variables": append(login, "NATS_URL", srv.URL(), "NATS_CA", ca, "NATS_TLS_FIRST", "true", "NATS_INBOX_PREFIX", "_INBOX_a"),
	} {
		t.Run(name, func(t *testing.T) {
			w := hosted(t, environ...)
			open(t, w.environ, "serve")
			w.works()
			if d, got := w.ask(); d.Faults > 0 {
				t.Errorf("doctor:\n%s", got.stdout)
			}
		})
	}
	if nc, err := nats.Connect(srv.URL(), nats.RootCAs(ca), nats.UserInfo("a", "a"), nats.Timeout(200*time.Millisecond)); err == nil {
		nc.Close()
		t.Error("the server expects no handshake first, so nothing was tested")
	}
}

// TestServeTellsOfTheAccount ends with numbers and the name of the setting, and doctor says the same before.
func TestServeTellsOfTheAccount(t *testing.T) {
	t.Parallel()
	for limits, says := range map[string]string{
		"max_streams: 3": "this account allows 3 streams (max_streams), the bridge needs 4",
		"max_file: 1G, max_bytes_required: true": "this account allows 953.7 MiB of storage (max_file), the streams take 4.501 GiB " +
			"(requests=256MiB,events=4GiB,dead=256MiB,settings=1MiB): set BRIDGE_STREAM_MAX_BYTES",
	} {
		w := hosted(t, "NATS_URL", bustest.Start(t, bustest.Config(t,
			`accounts: {A: {jetstream: {`+limits+`}, users: [{user: a, password: a}]}}`)).URL(), "NATS_USER", "a", "NATS_PASSWORD", "a")
		d, got := w.ask()
		if f, ok := d.find("limits", says); !ok || f.Level != doctor.Fault || d.Faults != 1 {
			t.Errorf("doctor:\n%s", got.stdout)
		}
		if got := execute(t.Context(), w.environ, "", "serve"); got.code != 1 || !strings.Contains(got.stderr, says) {
			t.Errorf("serve: exit %d, %s", got.code, got.stderr)
		}
	}
}

// TestDoctorOnABoundedStream advises what keeps the messages.
func TestDoctorOnABoundedStream(t *testing.T) {
	t.Parallel()
	w := hosted(t, "NATS_URL", bustest.Start(t).URL())
	w.provision()
	js := w.jetStream()
	s, err := js.Stream(t.Context(), "KLING_REQUESTS")
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.MaxMsgs = 20
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	d, got := w.ask()
	f, ok := d.find("streams", "KLING_REQUESTS can't be used: max_msgs is 20 with discard old")
	if !ok || f.Level != doctor.Fault || !strings.Contains(f.Advice, "nats stream edit KLING_REQUESTS --max-msgs=-1") {
		t.Errorf("doctor:\n%s", got.stdout)
	}
	if got := execute(t.Context(), w.environ, "", "serve"); got.code != 1 || !strings.Contains(got.stderr, "max_msgs is 20 with discard old") {
		t.Errorf("serve: exit %d, %s", got.code, got.stderr)
	}
}
