// Package subjects adds to the public subjects those that only the bridge uses: its own records, the way into the events
// stream, and what replicas tell each other.
//
// It owns the spelling of P-state.> and P-put.>, and the name of the settings stream, where P is the prefix. No other
// package builds these. It must not publish or read anything, and it imports nothing of the bridge.
package subjects

import (
	"cmp"
	"slices"
	"strings"

	"github.com/klingbridge/klingbridge/events"
)

// Subjects builds every subject and stream name that the bridge uses. The zero value has [events.DefaultPrefix].
type Subjects struct {
	events.Subjects
}

// Default returns the subjects under [events.DefaultPrefix].
func Default() Subjects { return Subjects{} }

// New returns the subjects that begin with prefix, which is checked as by [events.NewSubjects].
func New(prefix string) (Subjects, error) {
	s, err := events.NewSubjects(prefix)
	return Subjects{s}, err
}

// Public matches everything that users may read: the stream's republish source.
func (s Subjects) Public() string { return s.Prefix() + ".>" }

// Pending is the record of a task that has not ended, which is also its poll timer.
func (s Subjects) Pending(kind, pool, token string) string {
	return s.state(TypePending, kind, pool, token)
}

// Due is where a pending record arrives when its timer fires.
func (s Subjects) Due(kind, pool, token string) string { return s.state(TypeDue, kind, pool, token) }

// StateOf matches the bridge's own records of one request.
func (s Subjects) StateOf(token string) string { return s.state("*", "*", "*", token) }

// Records matches the records of every request of a kind, or with * of all, whether their timer has fired or not.
func (s Subjects) Records(kind string) string { return s.state("*", kind, "*", "*") }

// AllPending matches every pending record.
func (s Subjects) AllPending() string { return s.state(TypePending, ">") }

// AllDue matches every record whose timer has fired.
func (s Subjects) AllDue() string { return s.state(TypeDue, ">") }

// SlotNews is in no stream: what replicas tell each other about a pool's slots.
func (s Subjects) SlotNews(pool string) string { return s.state(TypeSlots, pool) }

// Probe is where a replica now and then stores a message and removes it again.
func (s Subjects) Probe(replica string) string { return s.state("probe", replica) }

// Setting is a value that is generated once and shared by all replicas.
func (s Subjects) Setting(name string) string { return s.state("setting", name) }

// Tokens of requests stand where [Subjects.AnythingOf] looks for one, or after that: where a wildcard of it meets them, the
// server goes through all of them for each guard, which takes 2 ms with 60,000 of them (nats-server 2.15.2). filler takes the
// places before them that say nothing.
const filler = "request"

// External is the note that a request brought an external task id of its own, by the token of that.
func (s Subjects) External(token string) string {
	return s.state(TypeExternal, filler, filler, filler, token)
}

// Original is a request as it came, kept from when it leaves the stream of requests.
func (s Subjects) Original(p events.Priority, token string) string {
	return s.state(TypeOriginal, priorityToken(p), filler, filler, token)
}

// OriginalOf matches the original of a request.
func (s Subjects) OriginalOf(token string) string {
	return s.state(TypeOriginal, "*", filler, filler, token)
}

// priorityToken names a priority; in the subject of a request normal has no token.
func priorityToken(p events.Priority) string { return cmp.Or(string(p), normalToken) }

const normalToken = "normal"

// Logout is the note that somebody has ended a session of the console.
func (s Subjects) Logout(session string) string { return s.state(TypeLogout, session) }

// AnythingOf matches every message about one request in the events stream: no message there means that nothing is
// known of the request.
func (s Subjects) AnythingOf(token string) string {
	wild := strings.Repeat("*.", strings.Count(s.Prefix(), ".")+1)
	return wild + "*.*.*." + token
}

// Put is the way into the events stream: a message for subject is published on Put(subject) and stored as subject.
func (s Subjects) Put(subject string) string { return s.Prefix() + "-put." + subject }

// SettingsStream names the stream of values that all replicas share.
func (s Subjects) SettingsStream() string {
	return strings.TrimSuffix(s.EventsStream(), "EVENTS") + "SETTINGS"
}

func (s Subjects) state(t events.Type, tokens ...string) string {
	var b strings.Builder
	b.Grow(usualSubject)
	b.WriteString(s.Prefix())
	b.WriteString("-state.")
	b.WriteString(string(t))
	for _, token := range tokens {
		b.WriteByte('.')
		b.WriteString(token)
	}
	return b.String()
}

// usualSubject is what most subjects take at most, in bytes.
const usualSubject = 96

func (s Subjects) statePrefix() string { return s.Prefix() + "-state." }

// The types of the bridge's own messages, as they stand in the subject.
const (
	TypePending  events.Type = "pending"  // a record that waits for its timer
	TypeDue      events.Type = "due"      // a record whose timer has fired
	TypeSlots    events.Type = "slots"    // what replicas tell each other about slots
	TypeExternal events.Type = "external" // a note of an external task id
	TypeOriginal events.Type = "original" // a request as it came
	TypeLogout   events.Type = "logout"   // a note of an ended session
)

// Parsed is a subject taken apart. Of a public one, see [events.Parsed]; of a pending or due record, Type, Kind, Pool and
// Token are set; of what replicas tell each other about slots, Pool; of a note of an external task id, Token; of one of a
// logout, the session as Token; of a request as it came, Priority and Token.
type Parsed struct {
	events.Parsed
	Pool string
}

// Parse takes apart a subject under this prefix and reports whether it is one.
func (s Subjects) Parse(subject string) (Parsed, bool) {
	if rest, ok := strings.CutPrefix(subject, s.statePrefix()); ok {
		return parseState(strings.Split(rest, "."))
	}
	p, ok := s.Subjects.Parse(subject)
	return Parsed{Parsed: p}, ok
}

func parseState(t []string) (Parsed, bool) {
	if slices.ContainsFunc(t, func(token string) bool { return !events.IsToken(token) }) {
		return Parsed{}, false
	}
	p := Parsed{Parsed: events.Parsed{Type: events.Type(t[0])}}
	t = t[1:]
	type shape struct {
		of     events.Type
		tokens int
	}
	switch (shape{p.Type, len(t)}) {
	case shape{TypePending, 3}, shape{TypeDue, 3}:
		p.Kind, p.Pool, p.Token = t[0], t[1], t[2]
	case shape{TypeOriginal, 4}:
		return parseOriginal(p, t)
	case shape{TypeExternal, 4}:
		p.Token = t[3]
		return p, filled(t[:3])
	case shape{TypeSlots, 1}:
		p.Pool = t[0]
	case shape{TypeLogout, 1}:
		p.Token = t[0]
	default:
		return Parsed{}, false
	}
	return p, true
}

func parseOriginal(p Parsed, t []string) (Parsed, bool) {
	if t[0] != normalToken {
		p.Priority = events.Priority(t[0])
	}
	p.Token = t[3]
	return p, filled(t[1:3]) && slices.Contains(events.Priorities(), p.Priority)
}

// filled reports whether all tokens are fillers.
func filled(t []string) bool {
	return !slices.ContainsFunc(t, func(token string) bool { return token != filler })
}
