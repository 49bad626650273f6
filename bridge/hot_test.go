package bridge

import "testing"

func BenchmarkCallbackURL(b *testing.B) {
	s := newSigner("https://bridge.example.com", "kling", "ns", []string{"a-callback-secret-of-some-length"})
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			s.url("text2video", "order-000000042")
		}
	})
	b.Run("verify", func(b *testing.B) {
		given := s.sign(s.secrets[0], "text2video", "order-000000042")
		b.ReportAllocs()
		for b.Loop() {
			if !s.verify("text2video", "order-000000042", given) {
				b.Fatal("refused")
			}
		}
	})
}
