package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/klingbridge/klingbridge/config"
)

// writePair writes a self-signed certificate of this name and its key, with the given time of modification.
func writePair(t *testing.T, dir, name string, modified time.Time) config.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config{TLSCert: filepath.Join(dir, "cert.pem"), TLSKey: filepath.Join(dir, "key.pem")}
	writeAt(t, c.TLSCert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), modified)
	writeAt(t, c.TLSKey, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), modified)
	return c
}

func writeAt(t *testing.T, path string, content []byte, modified time.Time) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, modified, modified); err != nil {
		t.Fatal(err)
	}
}

// presented returns the name on the certificate that the next handshake gets.
func presented(t *testing.T, c *tls.Config) string {
	t.Helper()
	pair, err := c.GetCertificate(&tls.ClientHelloInfo{})
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf.Subject.CommonName
}

func TestCertificateFilesAreFollowed(t *testing.T) {
	t.Parallel()
	dir, start := t.TempDir(), time.Now()
	c := writePair(t, dir, "old", start)
	settings, err := callbackTLS(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got := presented(t, settings); got != "old" {
		t.Errorf("presented %q, want old", got)
	}
	writeAt(t, c.TLSCert, []byte("half written"), start.Add(time.Second))
	if got := presented(t, settings); got != "old" {
		t.Errorf("presented %q while the files are no good, want old", got)
	}
	writePair(t, dir, "new", start.Add(2*time.Second))
	if got := presented(t, settings); got != "new" {
		t.Errorf("presented %q, want new", got)
	}
}

func TestCertificateFilesMustBeGood(t *testing.T) {
	t.Parallel()
	c := config.Config{TLSCert: "tls_test.go", TLSKey: "tls_test.go"}
	if _, err := callbackTLS(c, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("source code was taken for a certificate")
	}
}

func TestAutocertAnswersTheACMEChallenge(t *testing.T) {
	t.Parallel()
	c := config.Config{TLSAutocert: "bridge.example.com", DataDir: t.TempDir()}
	settings, err := callbackTLS(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(settings.NextProtos, acme.ALPNProto) {
		t.Errorf("protocols %q lack %s", settings.NextProtos, acme.ALPNProto)
	}
	if _, err := settings.GetCertificate(&tls.ClientHelloInfo{ServerName: "other.example.com"}); err == nil {
		t.Error("a certificate would be asked for another host")
	}
}

func TestPlainHTTPByDefault(t *testing.T) {
	t.Parallel()
	if settings, err := callbackTLS(config.Config{}, nil); settings != nil || err != nil {
		t.Errorf("TLS %v, error %v; want neither", settings, err)
	}
}
