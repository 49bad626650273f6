package kling_test

import (
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// TestModelNames holds what is said of model_name to what was recorded on 2026-09-28: text2video and image2video serve
// kling-v3, and their documented default is discontinued.
func TestModelNames(t *testing.T) {
	t.Parallel()
	kinds, err := kling.DefaultKinds().With("mine=/v1/videos/text2video:video")
	if err != nil {
		t.Fatal(err)
	}
	for name, retired := range map[string]bool{
		"text2video": true, "image2video": true, "mine": true,
		"omni-video-v1": false, "motion-control-v1": false, "image-generations": false, "omni-image": false,
		"kolors-virtual-try-on": false,
	} {
		kind, _ := kinds.Lookup(name)
		m, takes := kind.ModelName()
		if !takes || m.Retired != retired || m.Default == "" || m.Current == "" || retired && m.Current != "kling-v3" {
			t.Errorf("%s: %+v, %t", name, m, takes)
		}
	}
	for _, kind := range kinds.All() {
		if _, takes := kind.ModelName(); takes && kind.Generation != kling.V1 {
			t.Errorf("%s names its model in the path or nowhere", kind.Name)
		}
	}
	for _, name := range []string{"video-extend", "lip-sync", "effects", "avatar", "image-expand", "text-to-video", "virtual-try-on"} {
		kind, _ := kinds.Lookup(name)
		if m, takes := kind.ModelName(); takes {
			t.Errorf("%s takes no model_name: %+v", name, m)
		}
	}
}
