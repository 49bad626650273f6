package callback

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/klingbridge/klingbridge/bridge/kling"
)

// FuzzRoute finds no path but the signed one that leads anywhere.
func FuzzRoute(f *testing.F) {
	s := NewSigner("https://b.example", "kling", "ns", []string{"secret"})
	good, err := url.Parse(s.URL("text2video", "order-1"))
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		good.Path, good.Path + "/", "/callbacks/text2video", "/callbacks/text2video/order-1/", "/callbacks//order-1/x", "/",
		"/callbacks/../callbacks/text2video/order-1/x", "/callbacks/text2video/order%2d1/x", "/callbacks/image2video/order-1/x",
		"/callbacks/self-test/order-1/x", "//callbacks", "/base/callbacks/text2video/order-1/x",
	} {
		f.Add(seed)
	}
	live := &Live{Signer: s, Kinds: kling.DefaultKinds()}
	f.Fuzz(func(t *testing.T, path string) {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.URL = &url.URL{Path: path}
		parts, ok := callbackPath(nil, r, "/base")
		if !ok {
			return
		}
		h, o := live.route(r, parts)
		if o != outcomeTaken {
			return
		}
		own := h.(*ownURL)
		want := callbackPrefix + own.kind.Name + "/" + own.token + "/" + s.sign(s.keys[0], own.kind.Name, own.token)
		if path != want && path != "/base"+want {
			t.Errorf("%q leads to %s %s", path, own.kind.Name, own.token)
		}
	})
}
