package store

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// What each request or callback costs in CPU besides JetStream and sockets.

func hotRecord() *Record {
	now := time.Date(2026, 10, 1, 12, 0, 0, 0, time.UTC)
	return &Record{
		Version: Version, RequestID: "order-000000042", Kind: "text2video", State: StateSubmitted, Owner: 42,
		Claim: "OXAL0jaxAktHbc4Ahf7JUNOXAL", Attempt: 1, ClaimedAt: now, ExternalTaskID: "k7f3abcd-order-000000042",
		TaskID: "871000000000000101", Slots: 1, RequestedAt: now, SubmittedAt: now, Deadline: now.Add(24 * time.Hour),
		NextPollAt: now.Add(5 * time.Minute), Metadata: map[string]string{"Tenant": "acme"},
		Trace: telemetry.Trace{Traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"},
	}
}

func BenchmarkEncodeCompletion(b *testing.B) {
	body, err := os.ReadFile(filepath.Join("..", "kling", "testdata", "callback_finished.json"))
	if err != nil {
		b.Fatal(err)
	}
	task, err := kling.DecodeCallback(body)
	if err != nil {
		b.Fatal(err)
	}
	l, rec := &Store{}, hotRecord()
	end := End{status: events.StatusSucceed, source: events.SourceCallback}
	ev := l.event(rec, end, &task, rec.SubmittedAt)
	b.Run("event", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			l.event(rec, end, &task, rec.SubmittedAt)
		}
	})
	b.Run("encode", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			if buf, err = encodeEvent(buf[:0], ev); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	rec := hotRecord()
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := rec.encode(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("decode", func(b *testing.B) {
		data, err := json.Marshal(rec)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := Decode(data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
