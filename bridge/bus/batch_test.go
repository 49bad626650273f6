package bus_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

func TestReadBatch(t *testing.T) {
	t.Parallel()
	b, err := bus.New(bustest.Start(t).Connect())
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = b.ReadBatch(t.Context(), "S", bus.Batch{Subject: "s.>", Limit: 1})
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		t.Errorf("no stream: %v", err)
	}
	stream := jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true}
	if _, err := b.JetStream().CreateStream(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		msg := nats.NewMsg(fmt.Sprintf("s.%d.%d", i%2, i))
		msg.Header.Set("Status", "204") // as a dead letter may have it
		if _, err := b.JetStream().PublishMsg(t.Context(), msg); err != nil {
			t.Fatal(err)
		}
	}
	msgs, left, err := b.ReadBatch(t.Context(), "S", bus.Batch{Subject: "s.0.*", Seq: 2, Limit: 1})
	if err != nil || len(msgs) != 1 || msgs[0].Subject != "s.0.2" || msgs[0].Seq != 3 || left != 1 {
		t.Errorf("%v, %d left, %v", msgs, left, err)
	}
	msgs, left, err = b.ReadBatch(t.Context(), "S", bus.Batch{Subject: "s.1.>", Since: msgs[0].Time, Limit: 10})
	if err != nil || len(msgs) != 2 || msgs[1].Subject != "s.1.5" || left != 0 {
		t.Errorf("%v, %d left, %v", msgs, left, err)
	}
	msgs, left, err = b.ReadBatch(t.Context(), "S", bus.Batch{Subject: "s.>", Since: time.Now().Add(time.Hour), Limit: 10})
	if err != nil || len(msgs) != 0 || left != 0 {
		t.Errorf("%v, %d left, %v", msgs, left, err)
	}
}
