package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"

	"github.com/klingbridge/klingbridge/bridge/kling"
	"github.com/klingbridge/klingbridge/bridge/request"
)

// Version is the newest version of records that this bridge understands.
//
// Version 2 names the account at Kling. Version 1 does not, and is of the account [kling.DefaultAccount]. Version 3 is of
// requests whose tasks are made again when Kling fails them.
const Version = 3

// versionOf is the version that a record is written as: the oldest that says what it means. Replicas of the versions before,
// which know only one account or would end a request with its first failed task, leave records of others alone.
func versionOf(account string, retries int) int {
	switch {
	case retries > 0:
		return Version
	case account == "" || account == kling.DefaultAccount:
		return 1
	default:
		return 2
	}
}

// Newer reports whether the record means what only a newer version of the bridge knows.
func (r *Record) Newer() bool { return r.Version > Version }

// errNewer is why a record of a newer version is not written.
var errNewer = errors.New("record of a newer version of the bridge")

// Decode reads a stored record of any version.
func Decode(data []byte) (*Record, error) {
	var rec Record
	if err := json.Unmarshal(data, &rec); err != nil {
		return nil, err
	}
	if rec.RequestID == "" || rec.Kind == "" {
		return nil, errors.New("not a record")
	}
	if rec.State != StateRetrying {
		rec.Account = cmp.Or(rec.Account, kling.DefaultAccount)
	}
	if len(rec.Metadata) == 0 {
		rec.Metadata = nil // it is stored as none
	}
	if onlyKnown(data) {
		return &rec, nil
	}
	var err error
	rec.Unknown, err = unknownMembers(data)
	return &rec, err
}

// onlyKnown reports whether every member of a record is a field of ours, as in all records but those of a newer version.
// It takes a twentieth of the time of decoding them. data is a JSON object.
func onlyKnown(data []byte) bool {
	depth, name := 0, false // name: the next string is one
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case '{', '[':
			depth++
			name = true
		case '}', ']':
			depth--
		case ',':
			name = true
		case ':':
			name = false
		case '"':
			n := request.StringLength(data[i:])
			if depth == 1 && name && !knownMember(data[i+1:i+n-1]) {
				return false
			}
			i += n - 1
		}
	}
	return true
}

// knownMember reports whether a record has a field of that name.
func knownMember(name []byte) bool {
	switch string(name) {
	case "v", "request_id", "kind", "state", "owner", "claim", "attempt", "certain", "claimed_at", "earlier_at", "upload",
		"external_task_id", "task_id", "slots", "model", "requested_at", "submitted_at", "deadline", "polls", "next_poll_at", "metadata", "replay_of", "trace", "account",
		"retries", "tries", "failure", "fence", "queued":
		return true
	default:
		return false
	}
}

// unknownMembers returns the members of a JSON object that are not fields of a record, as an object; nil: there are none.
func unknownMembers(data []byte) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(data, &members); err != nil {
		return nil, err
	}
	for name := range members {
		folded := strings.ToLower(strings.ToUpper(name)) // as the decoder does, which takes no notice of case
		if knownMember([]byte(folded)) {
			delete(members, name)
		}
	}
	if len(members) == 0 {
		return nil, nil
	}
	return json.Marshal(members)
}
