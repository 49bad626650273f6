package bridge

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// signer makes and checks the callback URL of a task. Whoever knows the URL may report on that task and no other.
type signer struct {
	base    string   // public URL without a trailing slash; empty: no callbacks
	secrets [][]byte // the first signs, all verify
}

func newSigner(publicURL string, secrets []string) signer {
	s := signer{base: strings.TrimRight(publicURL, "/")}
	for _, secret := range secrets {
		s.secrets = append(s.secrets, []byte(secret))
	}
	return s
}

// url returns where Kling calls back about a task, or nothing in poll-only mode.
func (s signer) url(kind, token string) string {
	if s.base == "" {
		return ""
	}
	return s.base + callbackPrefix + kind + "/" + token + "/" + signature(s.secrets[0], kind, token)
}

// verify compares the signature as it is spelled: decoding it first would let several spellings pass.
func (s signer) verify(kind, token, given string) bool {
	ok := false
	for _, secret := range s.secrets {
		if hmac.Equal([]byte(signature(secret, kind, token)), []byte(given)) {
			ok = true
		}
	}
	return ok
}

// signature covers kind and token, which contain no slash, under a label that keeps the key's other uses apart.
func signature(secret []byte, kind, token string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte("klingbridge callback/" + kind + "/" + token))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
