package kling_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
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
	if _, err := open.Create(t.Context(), kind, "", []byte(`{}`)); err != nil || asked != 1 {
		t.Fatalf("asked %d times for two bytes: %v", asked, err)
	}
	stalled := errors.New("stalled")
	closed := client.Fenced(func() error { return stalled })
	if _, err := closed.Create(t.Context(), kind, "", []byte(`{"prompt":`), []byte(`"a boat"}`)); !errors.Is(err, kling.ErrFenced) {
		t.Errorf("a small body that must not be sent: %v", err)
	}
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

// TestFenceIsAskedBeforeTheLastByte has small bodies go over each kind of connection. Only HTTP/1 writes next what it has read.
func TestFenceIsAskedBeforeTheLastByte(t *testing.T) {
	t.Parallel()
	kind, _ := kling.DefaultKinds().Lookup("text2video")
	for name, c := range map[string]struct {
		start  func(*httptest.Server)
		custom bool // transport
		asks   int
	}{
		"HTTP/1":                              {(*httptest.Server).Start, false, 1},
		"HTTP/1 by a transport of the caller": {(*httptest.Server).Start, true, 2}, // for all that is known it could be HTTP/2
		"HTTP/1 over TLS":                     {(*httptest.Server).StartTLS, true, 1},
		"HTTP/2":                              {func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() }, true, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(respond(http.StatusOK, `{"code":0,"data":{"task_id":"871000000000000101","task_status":"submitted"}}`))
			c.start(server)
			t.Cleanup(server.Close)
			o := kling.Options{BaseURL: server.URL, Credentials: kling.Credentials{APIKey: testKey}}
			if c.custom {
				o.Transport = server.Client().Transport
			}
			client, err := kling.NewClient(o)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			asked := 0
			_, err = client.Fenced(func() error { asked++; return nil }).Create(t.Context(), kind, "", []byte(`{"prompt":`), []byte(`"a boat"}`))
			if err != nil || asked != c.asks {
				t.Errorf("asked %d times (%v), want %d", asked, err, c.asks)
			}
		})
	}
}
