package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/crypto/acme/autocert"

	"github.com/klingbridge/klingbridge/config"
)

// callbackTLS returns the TLS settings of the callback listener, nil for plain HTTP.
func callbackTLS(c config.Config, log *slog.Logger) (*tls.Config, error) {
	switch {
	case c.TLSAutocert != "":
		manager := &autocert.Manager{
			Prompt:     autocert.AcceptTOS,
			HostPolicy: autocert.HostWhitelist(c.TLSAutocert),
			Cache:      autocert.DirCache(filepath.Join(c.DataDir, "acme")),
		}
		return manager.TLSConfig(), nil
	case c.TLSCert != "":
		files := &certFiles{cert: c.TLSCert, key: c.TLSKey, log: log}
		if err := files.reload(); err != nil {
			return nil, config.Faults{{Variable: "BRIDGE_TLS_CERT", Problem: err.Error()}}
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get}, nil
	default:
		return nil, nil
	}
}

// certFiles serves a certificate from two files and follows their renewal without a restart.
type certFiles struct {
	cert, key string // paths
	log       *slog.Logger

	mu      sync.Mutex // guards what follows; handshakes are concurrent
	stamp   [2]time.Time
	current *tls.Certificate
}

// get implements [tls.Config.GetCertificate]. Two calls of stat per handshake are cheap beside the handshake. While the
// new files can't be used (one of them may still be the old one), the old certificate stays.
func (f *certFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if stamp := f.stamps(); stamp != f.stamp {
		if err := f.reload(); err != nil {
			f.log.Warn("the callback listener keeps its old certificate", "err", err)
		}
	}
	return f.current, nil
}

// reload reads both files. It remembers their times even when they are no good, so as not to try each handshake again.
func (f *certFiles) reload() error {
	f.stamp = f.stamps()
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return fmt.Errorf("load certificate %s with key %s: %w", f.cert, f.key, err)
	}
	f.current = &pair
	return nil
}

func (f *certFiles) stamps() [2]time.Time { return [2]time.Time{modified(f.cert), modified(f.key)} }

// modified returns the zero time for a file that is not there.
func modified(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
