package callback

import "strings"

// Signer makes and checks the callback URL of a task. Whoever knows the URL may report on that task and no other, and at
// this deployment and no other: several may share a secret.
type Signer struct {
	base       string // public URL without a trailing slash; empty: no callbacks
	deployment string // subject prefix and namespace
	keys       []*key // the first signs, all verify
}

// NewSigner signs with the first of the secrets and takes the signatures of all; publicURL may be empty: there are no
// callbacks.
func NewSigner(publicURL, prefix, namespace string, secrets []string) Signer {
	s := Signer{base: strings.TrimRight(publicURL, "/"), deployment: prefix + "/" + namespace}
	for _, secret := range secrets {
		s.keys = append(s.keys, newKey(secret))
	}
	return s
}

// scheme is that of callback URLs.
func (s Signer) scheme() string {
	scheme, _, ok := strings.Cut(s.base, "://")
	if !ok {
		return "http"
	}
	return scheme
}

// URL returns where Kling calls back about a task, or nothing in poll-only mode.
func (s Signer) URL(kind, token string) string {
	if s.base == "" {
		return ""
	}
	return s.base + callbackPrefix + kind + "/" + token + "/" + s.sign(s.keys[0], kind, token)
}

// verify compares the signature as it is spelled: decoding it first would let several spellings pass. For tasks that were
// made before signatures named the deployment, it takes those without it too, for one release.
func (s Signer) verify(kind, token, given string) bool {
	for _, k := range s.keys {
		if k.verify(given, "klingbridge callback 2/", s.deployment, "/", kind, "/", token) {
			return true
		}
	}
	for _, k := range s.keys {
		if k.verify(given, "klingbridge callback/", kind, "/", token) {
			return true
		}
	}
	return false
}

// sign covers the deployment, kind and token. The last two contain no slash, so that nothing can stand for something else.
func (s Signer) sign(k *key, kind, token string) string {
	return k.authenticate("klingbridge callback 2/", s.deployment, "/", kind, "/", token)
}

// signature covers kind and token alone.
func signature(k *key, kind, token string) string {
	return k.authenticate("klingbridge callback/", kind, "/", token)
}
