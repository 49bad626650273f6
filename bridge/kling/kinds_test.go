package kling_test

import (
	"slices"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

func TestDefaultKinds(t *testing.T) {
	t.Parallel()
	kinds := kling.DefaultKinds()
	for name, want := range map[string]kling.Kind{
		"text2video":            {Path: "/v1/videos/text2video", Generation: kling.V1, Pool: kling.PoolVideo},
		"omni-video-v1":         {Path: "/v1/videos/omni-video", Generation: kling.V1, Pool: kling.PoolVideo},
		"avatar":                {Path: "/v1/videos/avatar/image2video", Generation: kling.V1, Pool: kling.PoolVideo},
		"image-expand":          {Path: "/v1/images/editing/expand", Generation: kling.V1, Pool: kling.PoolImage},
		"kolors-virtual-try-on": {Path: "/v1/images/kolors-virtual-try-on", Generation: kling.V1, Pool: kling.PoolTryOn},
		"omni-video":            {Path: "/omni-video/{model}", Generation: kling.V2, Pool: kling.PoolVideo},
		"virtual-try-on":        {Path: "/solutions/virtual_try_on", Generation: kling.Solutions, Pool: kling.PoolTryOn},
		"clothing-dupe":         {Path: "/solutions/e-commerce/clothing_dupe", Generation: kling.Solutions, Pool: kling.PoolVideo},
	} {
		want.Name = name
		if got, ok := kinds.Lookup(name); !ok || got != want {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}
	if got := len(kinds.All()); got != 28 {
		t.Errorf("got %d kinds, want 28", got)
	}
	pools := []kling.Pool{kling.PoolVideo, kling.PoolImage, kling.PoolTryOn}
	if got := kinds.Pools(); !slices.Equal(got, pools) {
		t.Errorf("pools are %v, want %v", got, pools)
	}
	if _, ok := kinds.Lookup("text3video"); ok {
		t.Error("an unknown kind was found")
	}
}

func TestExtraKinds(t *testing.T) {
	t.Parallel()
	defaults := kling.DefaultKinds()
	kinds, err := defaults.With("new=/v1/videos/new-thing:video, newer=/route/{model}:image,,newest=/solutions/x:video,effects=/v1/effects:extra")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []kling.Kind{
		{Name: "new", Path: "/v1/videos/new-thing", Generation: kling.V1, Pool: kling.PoolVideo},
		{Name: "newer", Path: "/route/{model}", Generation: kling.V2, Pool: kling.PoolImage},
		{Name: "newest", Path: "/solutions/x", Generation: kling.Solutions, Pool: kling.PoolVideo},
		{Name: "effects", Path: "/v1/effects", Generation: kling.V1, Pool: "extra"},
	} {
		if got, ok := kinds.Lookup(want.Name); !ok || got != want {
			t.Errorf("%s is %+v, want %+v", want.Name, got, want)
		}
	}
	if got, want := len(kinds.All()), len(defaults.All())+3; got != want {
		t.Errorf("got %d kinds, want %d", got, want)
	}
	if got, _ := defaults.Lookup("effects"); got.Path != "/v1/videos/effects" {
		t.Errorf("the table that was added to has changed: %+v", got)
	}
}

func TestExtraKindsRefused(t *testing.T) {
	t.Parallel()
	for _, list := range []string{
		"new", "new=/v1/x", "=/v1/x:video", "New=/v1/x:video", "a.b=/v1/x:video", "new=v1/x:video", "new=/v1/../x:video",
		"new=/v1/..:video", "new=/v1/x?y:video", "new=/{kind}:video", "new=/v1/x:", "new=/v1/x:Video", "ok=/v1/x:video,bad",
		"self-test=/v1/x:video", "new=/videos/x:video", "new=/solution/x:video",
	} {
		if _, err := kling.DefaultKinds().With(list); err == nil {
			t.Errorf("%q was taken", list)
		}
	}
}
