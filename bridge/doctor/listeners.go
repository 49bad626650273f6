package doctor

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// dialTimeout bounds the look at one address of this machine.
const dialTimeout = time.Second

// Listener is one that a bridge on this machine opens when it starts.
type Listener struct {
	Variable string // that names its address
	Addr     string // host:port where it is reached from this machine
}

// listeners says whether a bridge could start on this machine: whoever starts a second one, or has something else there, is
// told only that the address is in use.
func (e *examination) listeners(ctx context.Context) []Finding {
	var free, taken []string
	for _, l := range e.Listeners {
		if listens(ctx, l.Addr) {
			taken = append(taken, fmt.Sprintf("%s (%s)", l.Addr, l.Variable))
		} else {
			free = append(free, l.Addr)
		}
	}
	var findings []Finding
	if len(free) > 0 {
		findings = ok("free on this machine: %s", strings.Join(free, ", "))
	}
	if len(taken) == 0 {
		return findings
	}
	text := "taken on this machine: " + strings.Join(taken, ", ")
	switch _, answered := e.ready(ctx); {
	case answered:
		return append(findings, ok("%s, by the bridge that runs here", text)...)
	case len(e.bridges) > 0: // it is elsewhere, and so may be where the next one starts
		return append(findings, note(text+", by no bridge", "a bridge that starts on this machine needs other addresses")...)
	default:
		advice := "a bridge can't start here: set the variable to another address, or end what listens there"
		return append(findings, warning(text+", by no bridge", advice)...)
	}
}

func listens(ctx context.Context, addr string) bool {
	conn, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", addr)
	return err == nil && conn.Close() == nil
}
