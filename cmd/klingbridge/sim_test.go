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
		args := []string{"sim", "--addr", "127.0.0.1:0", "--api-key", "secret-1", "--speed", "100", "--slots", "video=1",
			"--retired", "image2video", "--slots-by-model", "kling-v3=1"}
		done <- run(ctx, args, nil, strings.NewReader(""), stdout, io.Discard)
	}()
	<-stdout.seen
	line, _, _ := strings.Cut(stdout.String(), "\n")
	base := strings.TrimPrefix(line, "export KLING_BASE_URL=")

	const boat, route = `{"prompt":"a boat"}`, "/v1/videos/text2video"
	for _, tt := range []struct {
		key, route, body string
		want             int
	}{
		{"secret-1", route, boat, http.StatusOK},
		{"secret-1", route, boat, http.StatusTooManyRequests}, // for want of a slot
		{"secret-1", route, `{"prompt":"a boat","model_name":"kling-v3"}`, http.StatusOK},
		{"secret-2", route, boat, http.StatusUnauthorized},
		{"secret-1", "/v1/videos/image2video", `{"image":"aGk="}`, http.StatusBadRequest}, // retired
	} {
		if got := create(t, base+tt.route, tt.key, tt.body); got != tt.want {
			t.Errorf("%s %s with %s: %d, want %d", tt.route, tt.body, tt.key, got, tt.want)
		}
	}
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("exit %d, want 0", code)
	}
}

// TestSimOfAccounts has accounts of their own keys, slots and credits.
func TestSimOfAccounts(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stdout := newSignalBuffer("KLING_ACCOUNTS=main,burst-2\n")
	done := make(chan int)
	go func() {
		args := []string{"sim", "--addr", "127.0.0.1:0", "--account", "main:video=1", "--account", "burst-2:credits=1", "--slots", "video=3"}
		done <- run(ctx, args, nil, strings.NewReader(""), stdout, io.Discard)
	}()
	<-stdout.seen
	line, keys, _ := strings.Cut(stdout.String(), "\n")
	url := strings.TrimPrefix(line, "export KLING_BASE_URL=") + "/v1/videos/text2video"
	const want = "export KLING_ACCOUNT_MAIN_API_KEY=simulated-key-main\nexport KLING_ACCOUNT_BURST_2_API_KEY=simulated-key-burst-2\n"
	if !strings.HasPrefix(keys, want) {
		t.Errorf("printed %q, want %q first", keys, want)
	}
	for _, tt := range []struct {
		key    string
		status int
	}{
		{"simulated-key-main", http.StatusOK},
		{"simulated-key-main", http.StatusTooManyRequests}, // for want of a slot
		{"simulated-key-burst-2", http.StatusOK},
		{"simulated-key-burst-2", http.StatusTooManyRequests}, // for want of credit
		{"simulated-key", http.StatusUnauthorized},
	} {
		if got := create(t, url, tt.key, `{"prompt":"a boat"}`); got != tt.status {
			t.Errorf("%s: %d, want %d", tt.key, got, tt.status)
		}
	}
	interrupt()
	if code := <-done; code != 0 {
		t.Errorf("exit %d, want 0", code)
	}
}

// create asks for a video and returns the status of the answer.
func create(t *testing.T, url, key, body string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
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
