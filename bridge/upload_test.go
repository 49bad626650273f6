package bridge_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/events"
)

// TestRecordTellsOfALargeBody has the record say how much longer its send may take, for the replica that takes it over.
func TestRecordTellsOfALargeBody(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	store, err := w.js.CreateObjectStore(w.ctx, jetstream.ObjectStoreConfig{Bucket: "inputs"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := store.PutBytes(w.ctx, "large", make([]byte, 3<<20)); err != nil { // 4 MiB in base64
		t.Fatal(err)
	}
	for id, want := range map[string]struct {
		image  string
		upload time.Duration
	}{
		"large": {events.ObjectRef("inputs", "large"), 16 * time.Second},
		"small": {"https://example.com/a.png", 0},
	} {
		w.request(testRequest{Kind: "image2video", ID: id, Body: body(map[string]any{"image": want.image, "prompt": id})})
		w.eventually("the task is announced", func() bool { return w.count("KLING_EVENTS", "kling.progress.*.submitted."+id) == 1 })
		var rec struct {
			Upload time.Duration `json:"upload"`
		}
		stored := w.stored("KLING_EVENTS", "kling-state.pending.*.*."+id)
		if len(stored) != 1 {
			t.Fatalf("%s: %d records", id, len(stored))
		}
		if err := json.Unmarshal(stored[0].Data, &rec); err != nil || rec.Upload != want.upload {
			t.Errorf("%s: %s more, want %s, %v", id, rec.Upload, want.upload, err)
		}
	}
}
