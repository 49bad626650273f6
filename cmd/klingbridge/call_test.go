package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/events"
)

// TestSubmitAttachesByURL sends a video along, which the simulated Kling has to fetch.
func TestSubmitAttachesByURL(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	dev := open(t, environ, "dev", "--task-time", "100ms", "--submitted-time", "10ms")
	clip := filepath.Join(t.TempDir(), "clip.mp4")
	if err := os.WriteFile(clip, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	got := execute(t.Context(), environ, "", "submit", "video-to-audio", "--attach", "video_url="+clip, "--wait")
	if got.code != 0 || !strings.Contains(got.stdout, ".mp3") {
		t.Errorf("exit %d, %s%s\n%s", got.code, got.stdout, got.stderr, dev)
	}
}

// TestCallCommand goes from a face to its video by commands, and has calls fail.
func TestCallCommand(t *testing.T) {
	t.Parallel()
	environ := freePorts(t)
	open(t, environ, "dev", "--task-time", "100ms", "--submitted-time", "10ms")
	file := filepath.Join(t.TempDir(), "face.png")
	if err := os.WriteFile(file, []byte("\x89PNG\r\n\x1a\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := execute(t.Context(), environ, "", "call", "identify-face", "--set", `video_id="871000000000000777"`)
	var found struct {
		Session string `json:"session_id"`
	}
	if err := json.Unmarshal([]byte(got.stdout), &found); err != nil || got.code != 0 || found.Session == "" {
		t.Fatalf("identify-face: exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	got = execute(t.Context(), environ, "", "submit", "advanced-lip-sync", "--set", `session_id="`+found.Session+`"`,
		"--set", `face_choose=[{"face_id":"0","audio_id":"a","sound_start_time":0,"sound_end_time":3000,"sound_insert_time":0}]`, "--wait")
	if got.code != 0 || !strings.Contains(got.stdout, ".mp4") {
		t.Errorf("advanced-lip-sync: exit %d, %s%s", got.code, got.stdout, got.stderr)
	}
	for _, c := range []struct {
		stdin, line string
		code        int
		out, err    string
	}{
		{"", "call image-recognize --attach image=" + file, 0, `"object_seg"`, "attached"},
		{`{"text":"a","voice_id":"v","voice_language":"en"}`, "call tts -", 0, `"audios"`, ""},
		{`{"text":"a","voice_id":"v"}`, "call tts - --set voice_language=zh --account default", 0, `"audios"`, ""},
		{"", "call presets-elements", 0, `[{`, ""},
		{"", "call delete-elements --set element_id=7", 0, "{}\n", ""},
		{"", "call delete-elements --set element_id=7", 1, "", "code 1201: element id not found: 7"},
		{"", "call tts --set voice_id=v", 1, "", "text is required"},
		{"", "call tts --set text=a --account other", 1, "", `no account "other"`},
		{"", "call tts --set text=a --account=", 2, "", "--account is empty"},
		{"", "call speak", 2, "", "identify-face tts"},
		{"", "call", 2, "", "name a call"},
		{"", "call tts a b", 2, "", `unexpected argument "b"`},
		{"[]", "call tts -", 2, "", "not a JSON object"},
	} {
		got := execute(t.Context(), environ, c.stdin, strings.Fields(c.line)...)
		if got.code != c.code || !strings.Contains(got.stdout, c.out) || !strings.Contains(got.stderr, c.err) {
			t.Errorf("%s: exit %d\n%s%s", c.line, got.code, got.stdout, got.stderr)
		}
	}
	help := execute(t.Context(), environ, "", "call", "--help").stdout
	for _, name := range events.Calls() {
		if !strings.Contains(help, name) {
			t.Errorf("the help does not name %s", name)
		}
	}
}
