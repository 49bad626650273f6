package bridge_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/klingbridge/klingbridge/bridge"
	"github.com/klingbridge/klingbridge/bridge/bus"
	"github.com/klingbridge/klingbridge/bridge/callback"
	"github.com/klingbridge/klingbridge/bridge/subjects"
)

func TestSelfTest(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent()})
	b, err := bus.New(w.nc, bus.Options{})
	if err != nil {
		t.Fatal(err)
	}
	secret, err := bridge.CallbackSecret(t.Context(), b, subjects.Default())
	if err != nil {
		t.Fatal(err)
	}
	url, proof := callback.SelfTest(w.replicas[0].callbackURL+"/", secret, "nonce1")
	if status, body := get(t, url); status != http.StatusOK || body != proof {
		t.Errorf("the right question: %d %q, want %q", status, body, proof)
	}
	if strings.Contains(url, proof) {
		t.Error("the URL gives the proof away")
	}
	foreign, _ := callback.SelfTest(w.replicas[0].callbackURL, "another secret", "nonce1")
	for name, wrong := range map[string]string{
		"another secret":   foreign,
		"another nonce":    strings.Replace(url, "nonce1", "nonce2", 1),
		"no signature":     url[:strings.LastIndex(url, "/")],
		"nothing":          w.replicas[0].callbackURL + "/callbacks/self-test",
		"a part too many":  url + "/",
		"a kind's URL":     strings.Replace(url, "self-test", "text2video", 1),
		"outside the path": strings.Replace(url, "/callbacks", "", 1),
	} {
		if status, _ := get(t, wrong); status == http.StatusOK {
			t.Errorf("%s: %d", name, status)
		}
	}
	for _, method := range []string{http.MethodPost, http.MethodHead, http.MethodPut} {
		if got := w.do(method, url, "{}", nil); got.status != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", method, got.status)
		}
	}
}

func TestSelfTestWithAReplacedSecret(t *testing.T) {
	t.Parallel()
	w := start(t, setup{sim: silent(), bridge: bridge.Options{CallbackSecrets: []string{"new", "old"}}})
	for _, secret := range []string{"new", "old"} {
		url, proof := callback.SelfTest(w.replicas[0].callbackURL, secret, "n")
		if status, body := get(t, url); status != http.StatusOK || body != proof {
			t.Errorf("%s: %d %q", secret, status, body)
		}
	}
}
