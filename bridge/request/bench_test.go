package request

import (
	"bytes"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/events"
)

func BenchmarkParseRequest(b *testing.B) {
	k, _ := kling.DefaultKinds().Lookup("text2video")
	raw := Raw{
		Kind:   k,
		Header: nats.Header{events.HeaderRequestID: {"order-000000042"}, "Kling-Meta-Tenant": {"acme"}},
		Data: []byte(`{"model_name":"kling-v3","mode":"pro","duration":"5","cfg_scale":0.5,` +
			`"prompt":"a lighthouse in a storm at dawn, seen from a small boat that is about to turn back"}`),
		Sequence: 42,
		StoredAt: time.Now(),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(raw, Defaults{Timeout: time.Hour}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHasReferences looks at a megabyte of base64.
func BenchmarkHasReferences(b *testing.B) {
	value := append(append([]byte{'"'}, bytes.Repeat([]byte("iVBORw0KGgo/"), 1<<20/12)...), '"')
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if hasReferences(value) {
			b.Fatal("it has none")
		}
	}
}

func BenchmarkCreateBody(b *testing.B) {
	k, _ := kling.DefaultKinds().Lookup("text2video")
	r, err := Parse(Raw{
		Kind: k, Header: nats.Header{events.HeaderRequestID: {"order-000000042"}},
		Data: []byte(`{"model_name":"kling-v3","mode":"pro","duration":"5","cfg_scale":0.5,` +
			`"prompt":"a lighthouse in a storm at dawn, seen from a small boat that is about to turn back"}`),
	}, Defaults{Timeout: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.CreateBody(r.Body, "k7f3abcd-order-000000042", "https://bridge.example.com/callbacks/text2video/order-000000042/0123456789")
	}
}
