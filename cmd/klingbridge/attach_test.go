package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/events"
)

// TestSubmitAttaches sends files along: the body refers to what is in the bucket.
func TestSubmitAttaches(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	dir := t.TempDir()
	first, last := filepath.Join(dir, "a=b.png"), filepath.Join(dir, "last.png")
	image := bytes.Repeat([]byte("pixels"), 500_000) // more than a message takes
	for name, content := range map[string][]byte{first: image, last: []byte("last")} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := execute(t.Context(), b.environ(), "", "submit", "text2video",
		"--set", `contents=[{"type":"first_frame"}]`, "--attach", "contents.0.url="+first,
		"--attach", "input.images[]="+first, "--attach", "input.images[]="+last, "--set", "contents[].text=waves")
	if got.code != 0 {
		t.Fatalf("exit %d, stderr %q", got.code, got.stderr)
	}
	var body struct {
		Contents []struct{ Type, URL, Text string }
		Input    struct{ Images []string }
	}
	if err := json.Unmarshal(b.request().Data, &body); err != nil {
		t.Fatal(err)
	}
	if len(body.Contents) != 2 || body.Contents[0].Type != "first_frame" || body.Contents[1].Text != "waves" || len(body.Input.Images) != 2 {
		t.Fatalf("body %s", b.request().Data)
	}
	store, err := b.js.ObjectStore(t.Context(), "kling-inputs")
	if err != nil {
		t.Fatal(err)
	}
	refs := []string{body.Contents[0].URL, body.Input.Images[0], body.Input.Images[1]}
	for i, want := range [][]byte{image, image, []byte("last")} {
		name, ok := strings.CutPrefix(refs[i], "nats-object://kling-inputs/")
		stored, err := store.GetBytes(t.Context(), name)
		if !ok || err != nil || !bytes.Equal(stored, want) {
			t.Errorf("%s has %d bytes, %v", refs[i], len(stored), err)
		}
		if !strings.Contains(got.stderr, refs[i]) {
			t.Errorf("%s is not in %q", refs[i], got.stderr)
		}
	}
	if refs[0] == refs[1] {
		t.Error("two attachments have one name")
	}
	status, err := store.Status(t.Context())
	if err != nil || status.TTL() != events.AttachTTL {
		t.Errorf("TTL %s, %v", status.TTL(), err)
	}
}

func TestSubmitAttachFaults(t *testing.T) {
	t.Parallel()
	b := startFakeBridge(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "a.png")
	if err := os.WriteFile(file, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no field":        {[]string{"--attach", "=" + file}, 2, "is not field=file"},
		"no file":         {[]string{"--attach", "image="}, 2, "is not field=file"},
		"missing file":    {[]string{"--attach", "image=" + file + "x"}, 2, "no such file"},
		"a directory":     {[]string{"--attach", "image=" + dir}, 2, "not a file"},
		"into a string":   {[]string{"--prompt", "a", "--attach", "prompt.image=" + file}, 2, `"prompt" is not an object`},
		"no such place":   {[]string{"--set", "list=[1]", "--attach", "list.1=" + file}, 2, `"1" is not a place in "list", a list of 1`},
		"not a list":      {[]string{"--set", "input.a=1", "--attach", "input[]=" + file}, 2, `"input" is not a list`},
		"odd bucket name": {[]string{"--attach", "image=" + file, "--attach-bucket", "a.b"}, 2, "--attach-bucket"},
	} {
		t.Run(name, func(t *testing.T) {
			got := execute(t.Context(), b.environ(), "", append([]string{"submit", "text2video"}, test.args...)...)
			if got.code != test.code || !strings.Contains(got.stderr, test.want) {
				t.Errorf("exit %d, stderr %q, want %d and %q", got.code, got.stderr, test.code, test.want)
			}
		})
	}
	if n := b.requests(); n > 0 {
		t.Errorf("%d requests were published", n)
	}
}

func TestPut(t *testing.T) {
	t.Parallel()
	body := map[string]any{"a": map[string]any{"b": "old"}}
	for _, path := range []string{"a.b", "c.d.e", "list[]", "list[]", "list.0", "deep[].x[]", "deep.0.x[]"} {
		if _, err := put(body, "", fieldPath(path), path); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]any{
		"a": map[string]any{"b": "a.b"}, "c": map[string]any{"d": map[string]any{"e": "c.d.e"}},
		"list": []any{"list.0", "list[]"}, "deep": []any{map[string]any{"x": []any{"deep[].x[]", "deep.0.x[]"}}},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Errorf("body (-want +got):\n%s", diff)
	}
}
