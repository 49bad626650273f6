package store

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// packing writes a record into a few bytes, or reads one from there. Both go through the same list of fields, so that they can't
// differ. What is zero is a zero byte, and at the end it is left out: fields that are seldom set come last.
type packing struct {
	reading bool
	shared  []string // has those that many records have
	rest    string   // to be read; beyond it there are zeros
	trace   string   // the traceparent, if it is packed

	writing *names
	out     []byte
	used    int // of out, up to the last byte that is not zero

	base int64 // of the next time
}

// packable reports whether there is room for all that a record says: that of a task which is made again has more.
func packable(rec *Record) bool { return len(rec.Tries) == 0 && rec.Failure == nil }

// pack appends a record that is packable. Of its times the instant stays, and what is empty is nil then.
func pack(dst []byte, rec *Record, shared *names) []byte {
	copied := *rec
	p := packing{writing: shared, out: dst, used: len(dst)}
	p.record(&copied)
	return p.out[:p.used]
}

// unpack reads the record that was packed. All of its text is one string.
func unpack(packed []byte, shared []string, rec *Record) {
	var text strings.Builder
	text.Grow(len(packed) + traceLength)
	text.Write(packed)
	if isTrace(packed) {
		text.Write(appendTrace(make([]byte, 0, traceLength), packed[1:]))
	}
	all := text.String()
	p := packing{reading: true, shared: shared, rest: all[:len(packed)], trace: all[len(packed):]}
	*rec = Record{}
	p.record(rec)
}

// packedID returns the request id of a packed record.
func packedID(packed []byte) (id string) {
	p, trace := packing{reading: true, rest: string(packed)}, ""
	p.traceparent(&trace)
	p.text(&id)
	return id
}

func (p *packing) record(r *Record) {
	p.traceparent(&r.Trace.Traceparent) // first: see isTrace
	p.text(&r.RequestID)
	p.name(&r.Kind)
	p.name((*string)(&r.State))
	p.name(&r.Account)
	p.name(&r.Model)
	p.text(&r.ExternalTaskID)
	p.text(&r.TaskID)
	p.text(&r.Claim)
	integer(p, &r.Version)
	integer(p, &r.Owner)
	integer(p, &r.Attempt)
	integer(p, &r.Slots)
	p.instant(&r.RequestedAt)
	p.instant(&r.ClaimedAt)
	p.instant(&r.SubmittedAt)
	p.instant(&r.Deadline)
	p.instant(&r.NextPollAt)
	p.texts(&r.Metadata)
	p.text(&r.ReplayOf)
	integer(p, &r.Upload)
	integer(p, &r.Polls)
	integer(p, &r.Certain)
	p.instant(&r.EarlierAt)
	p.text(&r.Trace.Tracestate)
	p.text(&r.Trace.Baggage)
	integer(p, &r.Retries)
	p.text(&r.Fence)
	integer(p, &r.Queued)
	p.text(&r.Units)
	p.text((*string)(&r.EndedAs))
	p.bytes(&r.Unknown)
}

func (p *packing) texts(m *map[string]string) {
	n := len(*m)
	integer(p, &n)
	if !p.reading {
		for name, value := range *m {
			p.text(&name)
			p.text(&value)
		}
		return
	}
	if n > 0 {
		*m = make(map[string]string, n)
	}
	for range n {
		var name, value string
		p.text(&name)
		p.text(&value)
		(*m)[name] = value
	}
}

func (p *packing) bytes(b *json.RawMessage) {
	s := string(*b)
	if p.text(&s); p.reading && s != "" {
		*b = json.RawMessage(s)
	}
}

func (p *packing) text(s *string) {
	n := len(*s)
	integer(p, &n)
	if p.reading {
		*s, p.rest = p.rest[:n], p.rest[n:]
		return
	}
	p.out = append(p.out, *s...)
	p.use(n > 0)
}

// name is text for what many records have.
func (p *packing) name(s *string) {
	code := 0
	if !p.reading {
		code = p.writing.code(*s)
	}
	if integer(p, &code); code == 0 {
		p.text(s)
	} else if p.reading {
		*s = p.shared[code-1]
	}
}

// instant is a time: its nanoseconds, and its seconds since that of the one before. Together they hold every time.
func (p *packing) instant(t *time.Time) {
	nanos := 0
	if !t.IsZero() {
		nanos = t.Nanosecond() + 1
	}
	if integer(p, &nanos); nanos == 0 {
		return
	}
	seconds := t.Unix() - p.base
	integer(p, &seconds)
	p.base += seconds
	if p.reading {
		*t = time.Unix(p.base, int64(nanos-1)).UTC()
	}
}

// integer is a whole number of any type. Small ones take less, whether they are negative or not.
func integer[T ~int | ~int64 | ~uint64](p *packing, n *T) {
	if !p.reading {
		p.out = binary.AppendVarint(p.out, int64(*n))
		p.use(*n != 0)
		return
	}
	*n = T(p.next())
}

// next reads an integer.
func (p *packing) next() int64 {
	var folded uint64
	i := 0
	for shift := 0; i < len(p.rest); shift += 7 {
		b := p.rest[i]
		i++
		folded |= uint64(b&0x7f) << shift
		if b < 0x80 {
			break
		}
	}
	p.rest = p.rest[i:]
	return int64(folded>>1) ^ -int64(folded&1)
}

// use notes that what was written is more than zeros.
func (p *packing) use(more bool) {
	if more {
		p.used = len(p.out)
	}
}

const (
	traceLength = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
	traceBytes  = 1 + 16 + 8 + 1 // version, trace, span, flags
)

// traceparent is a W3C traceparent in half of its length, or any other text.
func (p *packing) traceparent(s *string) {
	packed := 0
	raw, ok := parseTrace(*s) // nothing where it is read
	if ok {
		packed = 1
	}
	switch integer(p, &packed); {
	case packed == 0:
		p.text(s)
	case p.reading:
		*s, p.rest = p.trace, p.rest[traceBytes:]
	default:
		p.out = append(p.out, raw[:]...)
		p.use(true)
	}
}

// isTrace reports whether a packed record begins with a packed traceparent.
func isTrace(packed []byte) bool { return len(packed) > 0 && packed[0] != 0 }

func parseTrace(s string) (raw [traceBytes]byte, ok bool) {
	if len(s) != traceLength {
		return raw, false
	}
	var digits [2 * traceBytes]byte
	_, err := hex.Decode(raw[:], append(append(append(append(digits[:0], s[:2]...), s[3:35]...), s[36:52]...), s[53:]...))
	return raw, err == nil && string(appendTrace(make([]byte, 0, traceLength), raw[:])) == s
}

func appendTrace(dst, raw []byte) []byte {
	dst = append(hex.AppendEncode(dst, raw[:1]), '-')
	dst = append(hex.AppendEncode(dst, raw[1:17]), '-')
	dst = append(hex.AppendEncode(dst, raw[17:25]), '-')
	return hex.AppendEncode(dst, raw[25:traceBytes])
}

// names are strings that many records have, each known by a number from 1.
type names struct {
	all []string // grows, but never changes: who has it need not lock
}

// maxNames bounds what requests may name.
const maxNames = 100

// code returns the number of a string; zero: it has none.
func (n *names) code(s string) int {
	if i := slices.Index(n.all, s); i >= 0 {
		return i + 1
	}
	if s == "" || len(n.all) == maxNames {
		return 0
	}
	n.all = append(n.all, strings.Clone(s))
	return len(n.all)
}
