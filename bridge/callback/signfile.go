package callback

import (
	"strconv"
	"time"
)

// SignsFiles reports whether there are URLs of files: as of callbacks, not without a public URL.
func (s Signer) SignsFiles() bool { return s.base != "" }

// SignFile returns, for the URL of an object, when it ends and its signature. path makes of them what follows the public URL.
func (s Signer) SignFile(bucket, name string, expires time.Time, path func(bucket, name, expires, signature string) string) string {
	seconds := strconv.FormatInt(expires.Unix(), 10)
	return s.base + path(bucket, name, seconds, s.signFile(s.keys[0], bucket, name, seconds))
}

// VerifyFile compares the signature as it is spelled.
func (s Signer) VerifyFile(bucket, name, expires, given string) bool {
	for _, k := range s.keys {
		if k.verify(given, s.fileText(bucket, name, expires)) {
			return true
		}
	}
	return false
}

// signFile covers the deployment, the end, the bucket and the name. Neither of the two before the name contains a slash, so that
// nothing can stand for something else.
func (s Signer) signFile(k *key, bucket, name, expires string) string {
	return k.authenticate(s.fileText(bucket, name, expires))
}

func (s Signer) fileText(bucket, name, expires string) string {
	return "klingbridge file 1/" + s.deployment + "/" + expires + "/" + bucket + "/" + name
}
