package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestSim(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stdout := newSignalBuffer("KLING_API_KEY=secret-1\n")
	done := make(chan int)
	go func() {
		args := []string{"sim", "--addr", "127.0.0.1:0", "--api-key", "secret-1", "--speed", "100", "--slots", "video=1"}
		done <- run(ctx, args, nil, strings.NewReader(""), stdout, io.Discard)
	}()
	<-stdout.seen
	line, _, _ := strings.Cut(stdout.String(), "\n")
	base := strings.TrimPrefix(line, "export KLING_BASE_URL=")

	first := create(t, base, "secret-1")
	second := create(t, base, "secret-1")
	stranger := create(t, base, "secret-2")
	if first != http.StatusOK || second != http.StatusTooManyRequests || stranger != http.StatusUnauthorized {
		t.Errorf("answers %d, %d, %d; want 200, then 429 for want of a slot, and 401 for another key", first, second, stranger)
	}
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("exit %d, want 0", code)
	}
}

// create asks for a video and returns the status of the answer.
func create(t *testing.T, base, key string) int {
	t.Helper()
	body := strings.NewReader(`{"prompt":"a boat"}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/v1/videos/text2video", body)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", "application/json")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}
