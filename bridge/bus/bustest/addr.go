package bustest

import (
	"math/rand/v2"
	"net"
	"testing"
)

// FreeAddr returns an address to listen on, once or again after a restart. It is on a loopback address of its own where
// the system has more than one: connections to anywhere come from 127.0.0.1, so none of theirs, of this process or of
// another, takes the port meanwhile.
func FreeAddr(tb testing.TB) string {
	tb.Helper()
	return freeTCPAddr(tb).String()
}

func freeHostPort(tb testing.TB) (host string, port int) {
	tb.Helper()
	addr := freeTCPAddr(tb)
	return addr.IP.String(), addr.Port
}

func freeTCPAddr(tb testing.TB) *net.TCPAddr {
	tb.Helper()
	ip := net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254)))
	l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
	if err != nil { // macOS has 127.0.0.1 alone
		l, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		tb.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr)
}
