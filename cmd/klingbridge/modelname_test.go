package main

import (
	"strings"
	"testing"
)

// TestSubmitWarnsOfNoModel submits without a model_name. The default that Kling documents for text2video was found
// discontinued on 2026-09-28; "model" in its place is accepted and ignored (recorded).
func TestSubmitWarnsOfNoModel(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	const warning = "the request names no model_name: Kling then takes kling-v1, which it has discontinued; " +
		"a current one for text2video: --set model_name=kling-v3\n"
	for args, want := range map[string]bool{
		"--prompt a":                             true,
		"--prompt a --set model=kling-v3":        true,
		`--prompt a --set model_name=`:           true,
		"--prompt a --set model_name=null":       true,
		"--prompt a --set model_name=kling-v2-5": false,
		"--prompt a --set model_name=kling-v3":   false,
	} {
		got := execute(t.Context(), b.environ(), "", append([]string{"submit", "text2video"}, strings.Fields(args)...)...)
		if got.code != 0 || strings.Contains(got.stderr, warning) != want {
			t.Errorf("%s: exit %d, a warning is wanted: %v: %q", args, got.code, want, got.stderr)
		}
	}
	lines := `{"prompt":"a"}` + "\n" + `{"prompt":"b","model_name":"kling-v3"}`
	got := execute(t.Context(), b.environ(), lines, "submit", "text2video", "-", "--lines")
	if got.code != 0 || !strings.Contains(got.stderr, "1 of 2 requests name no model_name: ") {
		t.Errorf("exit %d: %q", got.code, got.stderr)
	}
}

// TestSubmitWarnsOnlyWhereAModelIsTaken looks at the warning for kinds of all generations, without a bridge.
func TestSubmitWarnsOnlyWhereAModelIsTaken(t *testing.T) {
	t.Parallel()
	for kind, want := range map[string]string{
		"image-generations": "--set model_name=kling-v3\n",
		"omni-video-v1":     "Kling then takes kling-video-o1; a current one",
		"effects":           "", "text-to-video": "", "drama-subtitle": "",
	} {
		// Nothing listens there: the warning comes before the connection is tried.
		got := execute(t.Context(), map[string]string{"NATS_URL": "nats://127.0.0.1:1"}, "", "submit", kind, "--prompt", "a")
		if got.code != 1 || want != "" && !strings.Contains(got.stderr, want) || want == "" && strings.Contains(got.stderr, "model_name") {
			t.Errorf("%s: exit %d, want %q in %q", kind, got.code, want, got.stderr)
		}
	}
}
