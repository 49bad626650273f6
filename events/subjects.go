package events

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// DefaultPrefix is the first token of every subject unless BRIDGE_SUBJECT_PREFIX says otherwise.
const DefaultPrefix = "kling"

// Priority is the last token of a request subject, so that NATS permissions can say who may use it.
type Priority string

// The priorities, in the order in which waiting requests are served.
const (
	PriorityHigh   Priority = "high"
	PriorityNormal Priority = ""
	PriorityLow    Priority = "low"
)

// Priorities lists every priority, most urgent first.
func Priorities() []Priority { return []Priority{PriorityHigh, PriorityNormal, PriorityLow} }

// Subjects builds every subject and stream name that a user needs. The zero value has [DefaultPrefix], as a bridge
// without BRIDGE_SUBJECT_PREFIX; see [NewSubjects] for others.
type Subjects struct {
	prefix string // empty: DefaultPrefix, so that equal subjects are equal values
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// NewSubjects returns the subjects that begin with prefix: one or more tokens of [A-Za-z0-9_-] joined by dots. An
// empty prefix means [DefaultPrefix].
func NewSubjects(prefix string) (Subjects, error) {
	if prefix == "" || prefix == DefaultPrefix {
		return Subjects{}, nil
	}
	if !prefixPattern.MatchString(prefix) {
		return Subjects{}, fmt.Errorf("subject prefix %q: want tokens of letters, digits, _ and - joined by dots", prefix)
	}
	return Subjects{prefix: prefix}, nil
}

// Prefix returns the leading tokens of every subject.
func (s Subjects) Prefix() string { return cmp.Or(s.prefix, DefaultPrefix) }

// Request is where a request of this kind and priority is published.
func (s Subjects) Request(kind string, p Priority) string {
	if p == PriorityNormal {
		return s.join(TypeRequest, kind)
	}
	return s.join(TypeRequest, kind, string(p))
}

// Progress is the subject of a non-terminal event.
func (s Subjects) Progress(kind string, status Status, token string) string {
	return s.join(TypeProgress, kind, string(status), token)
}

// Completion is the subject of the one final event of a request.
func (s Subjects) Completion(kind string, status Status, token string) string {
	return s.join(TypeCompletion, kind, string(status), token)
}

// CompletionOf matches the completion of one request, whatever its kind and status.
func (s Subjects) CompletionOf(token string) string { return s.join(TypeCompletion, "*", "*", token) }

// Late is the subject of what Kling reports after a request has expired or was cancelled.
func (s Subjects) Late(kind string, status Status, token string) string {
	return s.join(TypeLate, kind, string(status), token)
}

// LateOf matches the late event of one request.
func (s Subjects) LateOf(token string) string { return s.join(TypeLate, "*", "*", token) }

// Archived is the subject of what says where the files of a result were copied to.
func (s Subjects) Archived(kind string, status Status, token string) string {
	return s.join(TypeArchived, kind, string(status), token)
}

// ArchivedOf matches the archived event of one request.
func (s Subjects) ArchivedOf(token string) string { return s.join(TypeArchived, "*", "*", token) }

// Dead is the subject of a dead letter: the original request and the reason it became no task.
func (s Subjects) Dead(kind string, status Status, token string) string {
	return s.join(TypeDead, kind, string(status), token)
}

// DeadOf matches the dead letter of one request.
func (s Subjects) DeadOf(token string) string { return s.join(TypeDead, "*", "*", token) }

// API is where the bridge answers a question.
func (s Subjects) API(e Endpoint) string { return s.join("api", string(e)) }

// EventsOf matches every public event of one request.
func (s Subjects) EventsOf(token string) string { return s.join("*", "*", "*", token) }

// AllRequests matches every request.
func (s Subjects) AllRequests() string { return s.join(TypeRequest, ">") }

// AllProgress matches every progress event.
func (s Subjects) AllProgress() string { return s.join(TypeProgress, ">") }

// AllCompletions matches every completion.
func (s Subjects) AllCompletions() string { return s.join(TypeCompletion, ">") }

// AllDead matches every dead letter.
func (s Subjects) AllDead() string { return s.join(TypeDead, ">") }

// RequestsStream names the stream of requests. Stream names are the prefix in upper case, dots as _, and a word.
func (s Subjects) RequestsStream() string { return s.stream("REQUESTS") }

// EventsStream names the stream of progress, completions, late and archived events.
func (s Subjects) EventsStream() string { return s.stream("EVENTS") }

// DeadStream names the stream of dead letters.
func (s Subjects) DeadStream() string { return s.stream("DEAD") }

func (s Subjects) join(t Type, tokens ...string) string {
	var b strings.Builder
	b.Grow(usualSubject)
	b.WriteString(s.Prefix())
	b.WriteByte('.')
	b.WriteString(string(t))
	for _, token := range tokens {
		b.WriteByte('.')
		b.WriteString(token)
	}
	return b.String()
}

// usualSubject is what most subjects take at most, in bytes.
const usualSubject = 96

func (s Subjects) stream(name string) string {
	return strings.ToUpper(strings.ReplaceAll(s.Prefix(), ".", "_")) + "_" + name
}

// Parsed is a subject taken apart. Of a request, Priority is set; of an event or dead letter, Status and Token.
type Parsed struct {
	Type     Type
	Kind     string
	Priority Priority
	Status   Status
	Token    string
}

// Parse takes apart a subject under this prefix and reports whether it is one.
func (s Subjects) Parse(subject string) (Parsed, bool) {
	rest, ok := strings.CutPrefix(subject, s.Prefix()+".")
	if !ok {
		return Parsed{}, false
	}
	t := strings.Split(rest, ".")
	if Type(t[0]) == TypeRequest {
		return parseRequest(t)
	}
	if len(t) != 4 || !allTokens(t) {
		return Parsed{}, false
	}
	switch typ := Type(t[0]); typ {
	case TypeProgress, TypeCompletion, TypeLate, TypeArchived, TypeDead:
		return Parsed{Type: typ, Kind: t[1], Status: Status(t[2]), Token: t[3]}, true
	default:
		return Parsed{}, false
	}
}

func parseRequest(t []string) (Parsed, bool) {
	if len(t) < 2 || len(t) > 3 || !allTokens(t) {
		return Parsed{}, false
	}
	p := Parsed{Type: TypeRequest, Kind: t[1]}
	if len(t) == 2 {
		return p, true
	}
	p.Priority = Priority(t[2])
	return p, p.Priority == PriorityHigh || p.Priority == PriorityLow
}

func allTokens(tokens []string) bool {
	return !slices.ContainsFunc(tokens, func(t string) bool { return !IsToken(t) })
}

// MaxRequestID is the longest request id, in bytes.
const MaxRequestID = 128

// Token returns the request id as one subject token: the id itself when it is 1 to 64 of [A-Za-z0-9_-], otherwise
// "h-" and the first 32 lower-case hex digits of its SHA-256.
func Token(requestID string) string {
	if IsToken(requestID) {
		return requestID
	}
	sum := sha256.Sum256([]byte(requestID))
	return "h-" + hex.EncodeToString(sum[:])[:32]
}

const maxToken = 64 // bytes

// IsToken reports whether s could have come from [Token].
func IsToken(s string) bool {
	if s == "" || len(s) > maxToken {
		return false
	}
	for i := range len(s) { // a regular expression takes ten times as long, several times for every event
		if !isTokenByte(s[i]) {
			return false
		}
	}
	return true
}

func isTokenByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}
