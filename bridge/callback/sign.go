package callback

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"strings"
)

// Signer makes and checks the callback URL of a task. Whoever knows the URL may report on that task and no other, and at
// this deployment and no other: several may share a secret.
type Signer struct {
	base       string   // public URL without a trailing slash; empty: no callbacks
	deployment string   // subject prefix and namespace
	secrets    [][]byte // the first signs, all verify
}

// NewSigner signs with the first of the secrets and takes the signatures of all; publicURL may be empty: there are no
// callbacks.
func NewSigner(publicURL, prefix, namespace string, secrets []string) Signer {
	s := Signer{base: strings.TrimRight(publicURL, "/"), deployment: prefix + "/" + namespace}
	for _, secret := range secrets {
		s.secrets = append(s.secrets, []byte(secret))
	}
	return s
}

// URL returns where Kling calls back about a task, or nothing in poll-only mode.
func (s Signer) URL(kind, token string) string {
	if s.base == "" {
		return ""
	}
	return s.base + callbackPrefix + kind + "/" + token + "/" + s.sign(s.secrets[0], kind, token)
}

// verify compares the signature as it is spelled: decoding it first would let several spellings pass. For tasks that were
// made before signatures named the deployment, it takes those without it too, for one release.
func (s Signer) verify(kind, token, given string) bool {
	ok := false
	for _, secret := range s.secrets {
		for _, want := range [...]string{s.sign(secret, kind, token), signature(secret, kind, token)} {
			if hmac.Equal([]byte(want), []byte(given)) {
				ok = true
			}
		}
	}
	return ok
}

// sign covers the deployment, kind and token. The last two contain no slash, so that nothing can stand for something else.
func (s Signer) sign(secret []byte, kind, token string) string {
	return authenticate(secret, "klingbridge callback 2/"+s.deployment+"/"+kind+"/"+token)
}

// signature covers kind and token alone.
func signature(secret []byte, kind, token string) string {
	return authenticate(secret, "klingbridge callback/"+kind+"/"+token)
}

// authenticate returns the HMAC of a text, whose first words keep the uses of the key apart.
func authenticate(secret []byte, text string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}
