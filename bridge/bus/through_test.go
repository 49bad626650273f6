package bus_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
)

// TestReadThrough reads what is selected, to the stream's end, and leaves no consumer behind.
func TestReadThrough(t *testing.T) {
	onBoth(t, func(t *testing.T, sys system) {
		const n = 300
		b := open(t, sys.url)
		config := jetstream.StreamConfig{Name: "READ", Subjects: []string{"pub.>"}, Replicas: sys.replicas}
		if err := b.EnsureStream(t.Context(), config, ""); err != nil {
			t.Fatal(err)
		}
		for i := 1; i <= n; i++ {
			msg := nats.NewMsg(fmt.Sprintf("pub.%d.%d", i%3, i))
			msg.Header.Set("Number", fmt.Sprint(i))
			msg.Data = []byte("data")
			if _, err := b.JetStream().PublishMsg(t.Context(), msg); err != nil {
				t.Fatal(err)
			}
		}
		for name, test := range map[string]struct {
			selection   bus.Selection
			first, want int
		}{
			"all":          {bus.Selection{}, 1, n},
			"from the end": {bus.Selection{From: n}, n, 1},
			"nothing":      {bus.Selection{From: n + 1}, 0, 0},
			"two subjects": {bus.Selection{Subjects: []string{"pub.1.*", "pub.2.*"}, From: 3}, 4, 198},
			"headers only": {bus.Selection{Subjects: []string{"pub.0.*"}, HeadersOnly: true}, 3, 100},
		} {
			var first, got int
			var last uint64
			err := b.ReadThrough(t.Context(), "READ", test.selection, func(m *bus.Message) {
				if first == 0 {
					first = int(m.Seq)
				}
				if m.Seq <= last || m.Header.Get("Number") != fmt.Sprint(m.Seq) || (len(m.Data) == 0) != test.selection.HeadersOnly {
					t.Errorf("%s: message %d after %d: %v %q", name, m.Seq, last, m.Header, m.Data)
				}
				got, last = got+1, m.Seq
			})
			if err != nil || got != test.want || first != test.first {
				t.Errorf("%s: %d messages from %d on, %v; want %d from %d on", name, got, first, err, test.want, test.first)
			}
		}

		ctx, cancel := context.WithCancel(t.Context())
		err := b.ReadThrough(ctx, "READ", bus.Selection{}, func(*bus.Message) { cancel() })
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a reading that is called off: %v", err)
		}
		eventually(t, "no consumer is left", func() bool { // a busy cluster may tell of one for some time
			stream, err := b.JetStream().Stream(t.Context(), "READ")
			return err == nil && stream.CachedInfo().State.Consumers == 0
		})
	})
}
