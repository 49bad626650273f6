package bridge_test

import (
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/events"
)

// TestInputsAreReadFromAllowedBucketsOnly has requests refer to buckets that all exist. Who may publish requests is not
// to read what is none of theirs, an archive for instance.
func TestInputsAreReadFromAllowedBucketsOnly(t *testing.T) {
	t.Parallel()
	w := start(t, setup{bridge: bridge.Options{InputBuckets: []string{"kling-inputs", "team-*"}}})
	for _, bucket := range []string{"kling-inputs", "kling-inputs-2", "team-a", "results", "a-team-b"} {
		store, err := w.js.CreateObjectStore(w.ctx, jetstream.ObjectStoreConfig{Bucket: bucket})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.PutBytes(w.ctx, "a", []byte("0123456789")); err != nil {
			t.Fatal(err)
		}
		w.request(testRequest{Kind: "image2video", ID: bucket, Body: body(map[string]any{
			"image": "nats-object://" + bucket + "/a", "prompt": "a",
		})})
	}
	for bucket, allowed := range map[string]bool{
		"kling-inputs": true, "team-a": true, "kling-inputs-2": false, "results": false, "a-team-b": false,
	} {
		ev := w.await(bucket)
		switch {
		case allowed && ev.Status != events.StatusSucceed:
			t.Errorf("%s: %+v", bucket, ev)
		case allowed:
		case ev.Status != events.StatusRejected || ev.Error.Class != events.ErrorInput ||
			!strings.Contains(ev.Error.Message, "of bucket "+bucket) || !strings.Contains(ev.Error.Message, "BRIDGE_INPUT_BUCKETS"):
			t.Errorf("%s: %+v", bucket, ev)
		}
	}
	if n := len(w.sim.Tasks()); n != 2 {
		t.Errorf("%d tasks, want 2", n)
	}
}
