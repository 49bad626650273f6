package klingtest

import (
	"net/http/httptest"
	"testing"
)

// Running is a server that listens on a loopback port.
type Running struct {
	*Server
	URL string // without a trailing slash
}

// Start serves a simulated Kling until the test and its subtests are done. Wrong options end the test.
func Start(tb testing.TB, o Options) *Running {
	tb.Helper()
	s, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	listening := httptest.NewServer(s)
	tb.Cleanup(func() {
		s.Close() // first, as it lets go of the calls that hang
		listening.Close()
	})
	return &Running{Server: s, URL: listening.URL}
}
