package callback

import (
	"io"
	"net/http"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/listener"
	"github.com/klingbridge/klingbridge/events"
)

// The self-test shows that a public URL leads to this system, without a task: GET
//
//	<public URL>/callbacks/self-test/<nonce>/<signature>
//
// is answered 200 with a proof that only who has the callback secret can give. The URL is signed like any callback URL,
// so that nobody else gets another answer than the 404 of a wrong URL; one that was overheard gives the same proof of the
// same nonce again, and nothing more.

// SelfTest returns the self-test URL of a nonce, which must be a subject token, and the body of the right answer.
func SelfTest(publicURL, secret, nonce string) (url, proof string) {
	base, k := strings.TrimRight(publicURL, "/"), newKey(secret)
	return base + callbackPrefix + kling.ReservedName + "/" + nonce + "/" + signature(k, kling.ReservedName, nonce), selfTestProof(k, nonce)
}

// selfTest answers a self-test. Anything but the right question gets what a wrong URL gets.
func (lr *Live) selfTest(w http.ResponseWriter, r *http.Request, parts []string, c *listener.Caller) outcome {
	if r.Method != http.MethodGet || len(parts) != 3 || !events.IsToken(parts[1]) {
		return outcomeForged
	}
	for _, k := range lr.Signer.keys {
		if k.verify(parts[2], "klingbridge callback/", kling.ReservedName, "/", parts[1]) {
			c.Prove()
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			_, _ = io.WriteString(w, selfTestProof(k, parts[1])) // the caller is gone
			return outcomeAnswered
		}
	}
	return outcomeForged
}

// selfTestProof is another use of the key than signing a URL: it can't be had by asking for one.
func selfTestProof(k *key, nonce string) string {
	return k.authenticate("klingbridge self-test answer/", nonce)
}
