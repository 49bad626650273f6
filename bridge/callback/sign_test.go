package callback

import (
	"strings"
	"testing"
)

func BenchmarkCallbackURL(b *testing.B) {
	s := NewSigner("https://bridge.example.com", "kling", "ns", []string{"a-callback-secret-of-some-length"})
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.URL("text2video", "order-000000042")
		}
	})
	b.Run("verify", func(b *testing.B) {
		given := s.sign(s.keys[0], "text2video", "order-000000042")
		b.ReportAllocs()
		for b.Loop() {
			if !s.verify("text2video", "order-000000042", given) {
				b.Fatal("refused")
			}
		}
	})
}

func TestSigner(t *testing.T) {
	old := NewSigner("https://b.example/hooks/", "kling", "ns", []string{"old"})
	both := NewSigner("https://b.example/hooks/", "kling", "ns", []string{"new", "old"})
	url := old.URL("text2video", "order-42")
	prefix := "https://b.example/hooks/callbacks/text2video/order-42/"
	if !strings.HasPrefix(url, prefix) {
		t.Fatalf("got %q", url)
	}
	sig := strings.TrimPrefix(url, prefix)
	if !both.verify("text2video", "order-42", sig) {
		t.Error("the old secret no longer verifies")
	}
	if both.URL("text2video", "order-42") == url {
		t.Error("the first secret does not sign")
	}
	for _, forged := range []string{"", sig[:len(sig)-1], sig + "A", strings.ToUpper(sig), sig[:len(sig)-1] + flip(sig[len(sig)-1])} {
		if both.verify("text2video", "order-42", forged) {
			t.Errorf("%q passes", forged)
		}
	}
	if both.verify("image2video", "order-42", sig) || both.verify("text2video", "order-43", sig) {
		t.Error("a signature passes for another task")
	}
	for _, other := range []Signer{
		NewSigner(old.base, "kling", "staging", []string{"old"}), NewSigner(old.base, "staging", "ns", []string{"old"}),
	} {
		if other.verify("text2video", "order-42", sig) {
			t.Errorf("a signature passes at deployment %s, which has the same secret", other.deployment)
		}
	}
	if !both.verify("text2video", "order-42", signature(newKey("old"), "text2video", "order-42")) {
		t.Error("a signature of the release before no longer verifies")
	}
}

// flip changes the bits of the last character that base64 does not use: a decoder would not notice.
func flip(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)^1])
}
