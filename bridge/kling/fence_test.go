package kling_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// TestFence lets a create call end before each part of its body: whoever is at the other end never gets a whole one.
func TestFence(t *testing.T) {
	t.Parallel()
	client := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err == nil && n > 2 {
			t.Errorf("a whole body of %d bytes has come", n)
		}
		_, _ = io.WriteString(w, `{"code":0,"data":{"task_id":"871000000000000101","task_status":"submitted"}}`)
	})
	kind, _ := kling.DefaultKinds().Lookup("text2video")
	asked := 0
	open := client.Fenced(func() error { asked++; return nil })
	if _, err := open.Create(t.Context(), kind, "", []byte(`{}`)); err != nil || asked < 2 {
		t.Fatalf("asked %d times for two bytes: %v", asked, err)
	}
	stalled := errors.New("stalled")
	body := bytes.Repeat([]byte("x"), 200<<10)
	for from := 1; from < 6; from++ {
		asked = 0
		fenced := client.Fenced(func() error {
			if asked++; asked >= from {
				return stalled
			}
			return nil
		})
		_, err := fenced.Create(t.Context(), kind, "", body)
		failure, ok := errors.AsType[*kling.Error](err)
		if !ok || failure.Action != kling.ActionRetry || !errors.Is(err, kling.ErrFenced) || !errors.Is(err, stalled) {
			t.Errorf("from part %d on: %v", from, err)
		}
	}
}
