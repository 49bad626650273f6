package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"hash"
	"sync"
)

// key is a secret, with what is ready to authenticate by it: to prepare that takes as long as to use it.
//
// Safe for concurrent use.
type key struct{ ready sync.Pool }

func newKey(secret string) *key {
	return &key{ready: sync.Pool{New: func() any { return &authenticator{mac: hmac.New(sha256.New, []byte(secret))} }}}
}

type authenticator struct {
	mac              hash.Hash
	text, sum, given []byte
	spelled          [43]byte
}

// authenticate returns the HMAC of a text in parts, whose first words keep the uses of the key apart.
func (k *key) authenticate(text ...string) string {
	a := k.ready.Get().(*authenticator)
	defer k.ready.Put(a)
	a.authenticate(text)
	return string(a.spelled[:])
}

// verify reports whether what is given is the HMAC of a text in parts, as it is spelled.
func (k *key) verify(given string, text ...string) bool {
	a := k.ready.Get().(*authenticator)
	defer k.ready.Put(a)
	a.authenticate(text)
	a.given = append(a.given[:0], given...)
	return hmac.Equal(a.spelled[:], a.given)
}

func (a *authenticator) authenticate(text []string) {
	a.text = a.text[:0]
	for _, part := range text {
		a.text = append(a.text, part...)
	}
	a.mac.Reset()
	a.mac.Write(a.text)
	a.sum = a.mac.Sum(a.sum[:0])
	base64.RawURLEncoding.Encode(a.spelled[:], a.sum)
}
