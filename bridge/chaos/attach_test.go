package chaos_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"

	"github.com/klingbridge/klingbridge/events"
)

// attach sends an image by way of a bucket, looks at what Kling gets, and at what memory that took.
func (w *world) attach(size int) {
	w.t.Helper()
	image := make([]byte, size)
	random := rand.NewChaCha8([32]byte{byte(w.seed)})
	_, _ = random.Read(image) // never fails
	ref, err := w.client().Attach(w.ctx, events.Attachment{Name: "first.png"}, bytes.NewReader(image))
	if err != nil {
		w.t.Fatal(err)
	}
	frame := map[string]any{"type": "first_frame", "url": ref}
	body, err := json.Marshal(map[string]any{"model": "kling-3.0", "contents": []any{frame}})
	if err != nil {
		w.t.Fatal(err)
	}
	program := w.replicas[0]
	idle := program.resident()
	w.publish(testRequest{Kind: "image-to-video", ID: "order-1", Body: body}, "")
	var got struct {
		Contents []struct{ URL string }
	}
	if err := json.Unmarshal(w.firstCreate(), &got); err != nil {
		w.t.Fatal(err)
	}
	if len(got.Contents) != 1 {
		w.t.Fatalf("Kling got %d contents", len(got.Contents))
	}
	if received, err := base64.StdEncoding.DecodeString(got.Contents[0].URL); err != nil || !bytes.Equal(received, image) {
		w.t.Errorf("Kling got another image of %d bytes, %v", len(received), err)
	}
	used := program.mostResident() - idle
	w.t.Logf("at most %.1f MB above the %.1f MB of the idle program", float64(used)/1e6, float64(idle)/1e6)
	// Twice and a half in peace; the collector comes later on a busy machine.
	if used >= 5*size {
		w.t.Errorf("an input of %d bytes took %d more than the idle program has, want less than five times the input", size, used)
	}
}
