package events

import (
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

// Subjects builds every subject and stream name. It is the only place that does. The zero value is not usable; see
// [NewSubjects].
type Subjects struct {
	prefix string
}

var prefixPattern = regexp.MustCompile(`^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$`)

// NewSubjects returns the subjects that begin with prefix: one or more tokens of [A-Za-z0-9_-] joined by dots. An
// empty prefix means [DefaultPrefix].
func NewSubjects(prefix string) (Subjects, error) {
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if !prefixPattern.MatchString(prefix) {
		return Subjects{}, fmt.Errorf("subject prefix %q: want tokens of letters, digits, _ and - joined by dots", prefix)
	}
	return Subjects{prefix: prefix}, nil
}

// DefaultSubjects returns the subjects under [DefaultPrefix].
func DefaultSubjects() Subjects { return Subjects{prefix: DefaultPrefix} }

// Prefix returns the leading tokens of every subject.
func (s Subjects) Prefix() string { return s.prefix }

// Request is where a request of this kind and priority is published.
func (s Subjects) Request(kind string, p Priority) string {
	if p == PriorityNormal {
		return s.join("request", kind)
	}
	return s.join("request", kind, string(p))
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
	return s.join("dead", kind, string(status), token)
}

// DeadOf matches the dead letter of one request.
func (s Subjects) DeadOf(token string) string { return s.join("dead", "*", "*", token) }

// API is where the bridge answers a question.
func (s Subjects) API(e Endpoint) string { return s.join("api", string(e)) }

// EventsOf matches every public event of one request.
func (s Subjects) EventsOf(token string) string { return s.join("*", "*", "*", token) }

// AllRequests matches every request.
func (s Subjects) AllRequests() string { return s.join("request", ">") }

// AllProgress matches every progress event.
func (s Subjects) AllProgress() string { return s.join(TypeProgress, ">") }

// AllCompletions matches every completion.
func (s Subjects) AllCompletions() string { return s.join(TypeCompletion, ">") }

// AllDead matches every dead letter.
func (s Subjects) AllDead() string { return s.join("dead", ">") }

// Public matches everything that users may read: the stream's republish source.
func (s Subjects) Public() string { return s.join(">") }

// Pending is private to the bridge: the record of a task that has not ended, which is also its poll timer.
func (s Subjects) Pending(kind, pool, token string) string {
	return s.state("pending", kind, pool, token)
}

// Due is private to the bridge: where a pending record arrives when its timer fires.
func (s Subjects) Due(kind, pool, token string) string { return s.state("due", kind, pool, token) }

// StateOf matches the bridge's own records of one request.
func (s Subjects) StateOf(token string) string { return s.state("*", "*", "*", token) }

// Records matches the records of every request of a kind, or with * of all, whether their timer has fired or not.
func (s Subjects) Records(kind string) string { return s.state("*", kind, "*", "*") }

// AllPending matches every pending record.
func (s Subjects) AllPending() string { return s.state("pending", ">") }

// AllDue matches every record whose timer has fired.
func (s Subjects) AllDue() string { return s.state("due", ">") }

// SlotNews is private to the bridge, and in no stream: what replicas tell each other about a pool's slots.
func (s Subjects) SlotNews(pool string) string { return s.state("slots", pool) }

// Probe is the private subject on which a replica now and then stores a message and removes it again.
func (s Subjects) Probe(replica string) string { return s.state("probe", replica) }

// Setting is private to the bridge: a value generated once and shared by all replicas.
func (s Subjects) Setting(name string) string { return s.state("setting", name) }

// External is private to the bridge: the note that a request brought an external task id of its own, by the token of that.
func (s Subjects) External(token string) string { return s.state("external", token) }

// Logout is private to the bridge: the note that somebody has ended a session of the console.
func (s Subjects) Logout(session string) string { return s.state("logout", session) }

// AnythingOf matches every message about one request in the events stream: no message there means that nothing is
// known of the request.
func (s Subjects) AnythingOf(token string) string {
	wild := strings.Repeat("*.", strings.Count(s.prefix, ".")+1)
	return wild + "*.*.*." + token
}

// Put is the way into the events stream: a message for subject is published on Put(subject) and stored as subject.
func (s Subjects) Put(subject string) string { return s.prefix + "-put." + subject }

// RequestsStream names the stream of requests. Stream names are the prefix in upper case, dots as _, and a word.
func (s Subjects) RequestsStream() string { return s.stream("REQUESTS") }

// EventsStream names the stream of progress, completions and the bridge's own state.
func (s Subjects) EventsStream() string { return s.stream("EVENTS") }

// DeadStream names the stream of dead letters.
func (s Subjects) DeadStream() string { return s.stream("DEAD") }

// SettingsStream names the stream of values that all replicas share.
func (s Subjects) SettingsStream() string { return s.stream("SETTINGS") }

func (s Subjects) join(tokens ...string) string { return s.prefix + "." + strings.Join(tokens, ".") }

func (s Subjects) state(tokens ...string) string {
	return s.prefix + "-state." + strings.Join(tokens, ".")
}

func (s Subjects) stream(name string) string {
	return strings.ToUpper(strings.ReplaceAll(s.prefix, ".", "_")) + "_" + name
}

// Parsed is a subject taken apart. Of a request, Priority is set; of an event or dead letter, Status and Token; of a
// pending or due record, Pool and Token; of what replicas tell each other about slots, Pool; of a note of an external task
// id, Token; of one of a logout, the session as Token.
type Parsed struct {
	Type     string // request, progress, completion, late, archived, dead; pending, due, slots, external, logout
	Kind     string
	Priority Priority
	Status   Status
	Pool     string
	Token    string
}

// Parse takes apart a subject under this prefix and reports whether it is one.
func (s Subjects) Parse(subject string) (Parsed, bool) {
	if rest, ok := strings.CutPrefix(subject, s.prefix+"-state."); ok {
		return parseState(strings.Split(rest, "."))
	}
	rest, ok := strings.CutPrefix(subject, s.prefix+".")
	if !ok {
		return Parsed{}, false
	}
	t := strings.Split(rest, ".")
	if t[0] == "request" {
		return parseRequest(t)
	}
	if len(t) != 4 || !allTokens(t) {
		return Parsed{}, false
	}
	switch t[0] {
	case TypeProgress, TypeCompletion, TypeLate, TypeArchived, "dead":
		return Parsed{Type: t[0], Kind: t[1], Status: Status(t[2]), Token: t[3]}, true
	default:
		return Parsed{}, false
	}
}

func parseState(t []string) (Parsed, bool) {
	if len(t) == 2 && t[0] == "slots" && IsToken(t[1]) {
		return Parsed{Type: t[0], Pool: t[1]}, true
	}
	if len(t) == 2 && (t[0] == "external" || t[0] == "logout") && IsToken(t[1]) {
		return Parsed{Type: t[0], Token: t[1]}, true
	}
	if len(t) != 4 || !allTokens(t) || (t[0] != "pending" && t[0] != "due") {
		return Parsed{}, false
	}
	return Parsed{Type: t[0], Kind: t[1], Pool: t[2], Token: t[3]}, true
}

func parseRequest(t []string) (Parsed, bool) {
	if len(t) < 2 || len(t) > 3 || !allTokens(t) {
		return Parsed{}, false
	}
	p := Parsed{Type: "request", Kind: t[1]}
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
