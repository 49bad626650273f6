package bus_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// TestConsumerMakesDo has an account, the server and the stream allow fewer unacked messages than are wanted. Recorded:
// max_ack_pending of 1000 in a hosted account ended the start with the server's words.
func TestConsumerMakesDo(t *testing.T) {
	for name, config := range map[string]string{
		"account": `accounts: {A: {jetstream: {max_ack_pending: 500}, users: [{user: a, password: a}]}}`,
		"server": `jetstream: {limits: {max_ack_pending: 500}}
			accounts: {A: {jetstream: enabled, users: [{user: a, password: a}]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			srv := bustest.Start(t, bustest.Config(t, config))
			b, err := bus.Open(t.Context(), bus.Options{URL: srv.URL(), User: "a", Password: "a", Logger: quiet()})
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if err := b.EnsureStream(t.Context(), eventsConfig(system{replicas: 1}), ""); err != nil {
				t.Fatal(err)
			}
			c, err := b.EnsureConsumer(t.Context(), "EVENTS", jetstream.ConsumerConfig{
				Durable: "d", AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 10_000,
			})
			if err != nil || c.CachedInfo().Config.MaxAckPending != 500 {
				t.Errorf("got %+v, %v", c, err)
			}
		})
	}
}
