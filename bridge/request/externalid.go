package request

import (
	"crypto/sha256"
	"encoding/base32"
	"strconv"
	"strings"

	"github.com/klingbridge/klingbridge/events"
)

// maxExternalID is the longest external_task_id the bridge derives: 36 characters are known to work at Kling, whose
// documentation gives no limit.
const maxExternalID = 36

// Namer derives external task ids. Ids of different namespaces never meet, so that two deployments on one Kling account
// do not adopt each other's tasks.
type Namer struct {
	prefix string // k and 7 characters of the namespace's hash
}

// NewNamer derives ids in a namespace.
func NewNamer(namespace string) Namer {
	return Namer{prefix: "k" + hash(namespace, 7)}
}

// ExternalID keeps the readable token where it fits. The separator tells the two forms apart, so that no readable id
// equals a hashed one; the leading letter keeps it from looking like one of Kling's all-digit task ids.
func (n Namer) ExternalID(token string) string {
	if id := n.prefix + "-" + token; len(id) <= maxExternalID {
		return id
	}
	return n.prefix + "_" + hash(token, maxExternalID-len(n.prefix)-1)
}

// TryID is the external id of a further try of a request, the n-th; its first has that of [Namer.ExternalID]. What stands
// before the number tells it from those of all requests: a hash has no hyphen and no underscore.
func (n Namer) TryID(token string, try int) string {
	prefix := n.prefix + "_" + strconv.Itoa(try)
	if id := prefix + "-" + token; len(id) <= maxExternalID {
		return id
	}
	return prefix + "_" + hash(token, maxExternalID-len(prefix)-1)
}

// OwnTryID is the external id of the n-th try of a request that brought one of its own along: the number is appended. Where that
// is too long, a hash of the whole stands for the end.
func OwnTryID(externalID string, try int) string {
	suffix := "-" + strconv.Itoa(try)
	if len(externalID)+len(suffix) <= maxExternalTaskID {
		return externalID + suffix
	}
	suffix = "-" + hash(externalID, 8) + suffix
	return externalID[:maxExternalTaskID-len(suffix)] + suffix
}

// Token returns the request token that an external id was derived from, where it was kept readable.
func (n Namer) Token(externalID string) (token string, ok bool) {
	token, ok = strings.CutPrefix(externalID, n.prefix+"-")
	return token, ok && events.IsToken(token)
}

// Derives reports whether an external id has the form of those that are derived here.
func (n Namer) Derives(externalID string) bool {
	return strings.HasPrefix(externalID, n.prefix+"-") || strings.HasPrefix(externalID, n.prefix+"_")
}

// DerivedForOther reports whether an external id is, or could be, derived for another request than that of the token.
func (n Namer) DerivedForOther(externalID, token string) bool {
	return n.Derives(externalID) && externalID != n.ExternalID(token)
}

func hash(s string, length int) string {
	sum := sha256.Sum256([]byte(s))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:length]
}
