package bus_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// fill makes a stream of messages on two subjects, every tenth on pub.rare.
func fill(t *testing.T, b *bus.Bus, sys system, n int) {
	t.Helper()
	config := jetstream.StreamConfig{Name: "WORK", Subjects: []string{"pub.>"}, Replicas: sys.replicas, AllowDirect: true}
	ensureStream(t, b, config)
	for i := 1; i <= n; i++ {
		subject := "pub.often"
		if i%10 == 0 {
			subject = "pub.rare"
		}
		msg := &nats.Msg{Subject: subject, Data: []byte(strconv.Itoa(i)), Header: nats.Header{}}
		switch i % 4 {
		case 1: // headers that look like the server's own
			msg.Header = nats.Header{
				"Nats-Sequence": {"1"}, "Nats-Subject": {"pub.forged"}, "Nats-Num-Pending": {"9"}, "Status": {"404"}, "Mine": {"yes"},
			}
		case 2:
			msg.Header.Set("Mine", "yes")
		}
		if _, err := b.JetStream().PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
}

// ensureStream tries again while a server is taken for offline: on a busy machine they miss each other's signs of life.
func ensureStream(t *testing.T, b *bus.Bus, config jetstream.StreamConfig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 120*time.Second)
	defer cancel()
	for {
		err := b.EnsureStream(ctx, config, "")
		if err == nil {
			return
		}
		if refused, ok := errors.AsType[*jetstream.APIError](err); !ok || refused.ErrorCode != bus.CodeNoPeers {
			t.Fatal(err)
		}
	}
}

func TestScan(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		const n = 120
		b := open(t, sys.url)
		fill(t, b, sys, n)
		for _, c := range []struct {
			subject     string
			from, batch int
			want        int
		}{{"pub.>", 0, 7, n}, {"pub.>", 100, 1, 21}, {"pub.rare", 1, 1000, 12}, {"pub.none", 1, 10, 0}, {"pub.>", n + 1, 10, 0}} {
			got := 0
			err := b.Scan(t.Context(), "WORK", c.subject, uint64(c.from), c.batch, func(m *bus.Message) bool {
				got++
				checkMessage(t, m)
				return true
			})
			if err != nil || got != c.want {
				t.Errorf("%+v: %d messages, %v", c, got, err)
			}
		}
		got := 0
		if err := b.Scan(t.Context(), "WORK", "pub.>", 1, 10, func(*bus.Message) bool {
			got++
			return got < 15
		}); err != nil || got != 15 {
			t.Errorf("%d messages, %v; want it to stop at 15", got, err)
		}
	})
}

// checkMessage holds a message to how it was stored.
func checkMessage(t *testing.T, m *bus.Message) {
	t.Helper()
	want := nats.Header{}
	switch m.Seq % 4 {
	case 1:
		want = nats.Header{
			"Nats-Sequence": {"1"}, "Nats-Subject": {"pub.forged"}, "Nats-Num-Pending": {"9"}, "Status": {"404"}, "Mine": {"yes"},
		}
	case 2:
		want = nats.Header{"Mine": {"yes"}}
	}
	if diff := cmp.Diff(want, m.Header); diff != "" {
		t.Errorf("headers of message %d (-want +got):\n%s", m.Seq, diff)
	}
	if string(m.Data) != fmt.Sprint(m.Seq) || m.Time.IsZero() || (m.Subject == "pub.rare") != (m.Seq%10 == 0) {
		t.Errorf("message %d: %s %q at %s", m.Seq, m.Subject, m.Data, m.Time)
	}
}

// TestScanUnreadableHeaders has a message in the way whose headers no client can read.
func TestScanUnreadableHeaders(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		fill(t, b, sys, 10)
		publishRaw(t, sys.url, "pub.often", "NATS/1.0\r\nno colon\r\n\r\n", "11")
		fill(t, b, sys, 10)
		var got []uint64
		err := b.Scan(t.Context(), "WORK", "pub.>", 1, 100, func(m *bus.Message) bool {
			got = append(got, m.Seq)
			return true
		})
		if err != nil || len(got) != 21 {
			t.Errorf("%v, %v; want 21 messages", got, err)
		}
	})
}

// publishRaw publishes what the client library would not, and waits until the server has taken it.
func publishRaw(t *testing.T, url, subject, header, data string) {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(strings.Split(url, ",")[0], "nats://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, err = fmt.Fprintf(conn, "CONNECT {\"headers\":true,\"verbose\":false}\r\nHPUB %s %d %d\r\n%s%s\r\nPING\r\n",
		subject, len(header), len(header)+len(data), header, data)
	if err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewScanner(conn)
	for answers.Scan() {
		if answers.Text() == "PONG" {
			return
		}
	}
	t.Fatalf("no PONG: %v", answers.Err())
}

func TestNewestFrom(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		b := open(t, sys.url)
		fill(t, b, sys, 200)
		for _, c := range []struct {
			subject   string
			before, n int
		}{{"pub.>", 201, 10}, {"pub.rare", 201, 3}, {"pub.rare", 100, 5}, {"pub.rare", 201, 50}, {"pub.none", 201, 5}, {"pub.>", 1000, 20}} {
			from, err := b.NewestFrom(t.Context(), "WORK", c.subject, uint64(c.before), c.n)
			if err != nil {
				t.Fatal(err)
			}
			got, all := 0, 0
			if err := b.Scan(t.Context(), "WORK", c.subject, 1, 100, func(m *bus.Message) bool {
				if m.Seq >= uint64(c.before) {
					return false
				}
				all++
				if m.Seq >= from {
					got++
				}
				return true
			}); err != nil {
				t.Fatal(err)
			}
			if got < min(c.n, all) || got > 2*c.n {
				t.Errorf("%+v: %d messages from %d on, want %d to %d of %d", c, got, from, c.n, 2*c.n, all)
			}
		}
	})
}
