package klingtest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/kling/klingtest"
)

// TestSyncCallsAreStrict refuses what Kling's pages do not have.
func TestSyncCallsAreStrict(t *testing.T) {
	t.Parallel()
	a := newAPI(t, klingtest.Options{})
	const elements = "/v1/videos/multi-elements/"
	for _, c := range []struct{ path, body string }{
		{"/v1/videos/identify-face", `{}`},
		{"/v1/videos/identify-face", `{"video_id":"1","video_url":"https://a.test/a.mp4"}`},
		{"/v1/videos/identify-face", `{"video_url":"aGVsbG8="}`},
		{"/v1/audio/tts", `{"text":"a","voice_id":"v"}`},
		{"/v1/audio/tts", `{"text":"a","voice_id":"v","voice_language":"fr"}`},
		{"/v1/audio/tts", `{"text":"a","voice_id":"v","voice_language":"en","voice_speed":2.5}`},
		{"/v1/audio/tts", `{"voice_id":"v","voice_language":"en","text":"` + strings.Repeat("a", 1001) + `"}`},
		{"/v1/videos/image-recognize", `{"image":"data:image/png;base64,aGVsbG8="}`},
		{elements + "init-selection", `{}`},
		{elements + "add-selection", `{"session_id":"nobody's","frame_index":0,"points":[{"x":0,"y":0}]}`},
		{elements + "add-selection", `{"session_id":"1","frame_index":0,"points":[]}`},
		{elements + "add-selection", `{"session_id":"1","frame_index":0,"points":[{"x":0,"y":1.5}]}`},
		{elements + "preview-selection", `{}`},
		{"/v1/general/delete-voices", `{}`},
	} {
		a.refused(c.path, c.body, http.StatusBadRequest, 1201)
	}
	if got := a.get("/v1/general/presets-voices?pageSize=1001"); got.Code != 1201 {
		t.Errorf("a page of 1001: %s", got.Body)
	}
	if len(a.Violations()) > 0 {
		t.Errorf("input of users counts as a client's fault: %q", a.Violations())
	}
	for _, call := range kling.SyncCalls() {
		method := map[string]string{http.MethodGet: http.MethodPost, http.MethodPost: http.MethodGet}[call.Method]
		if got := a.do(a.request(method, call.Path, "")); got.Code != 1202 {
			t.Errorf("%s %s: %s", method, call.Path, got.Body)
		}
	}
	if n := len(a.Violations()); n != len(kling.SyncCalls()) {
		t.Errorf("%d violations: %q", n, a.Violations())
	}
}
