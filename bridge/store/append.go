package store

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// What is in this file writes JSON as package encoding/json does, byte for byte, at a fraction of its time. Whatever is
// unusual it leaves to that.

// encodeEvent appends an event as JSON, with the characters &, < and > left as they are: URLs stay readable.
func encodeEvent(dst []byte, ev *events.Event) ([]byte, error) {
	if out, ok := appendEvent(dst, ev); ok {
		return out, nil
	}
	data, err := encodeBody(ev, ev.RequestID)
	return append(dst, data...), err
}

// encode returns the record as JSON, with the members that were not understood when it was read.
func (r *Record) encode() ([]byte, error) {
	return r.appendTo(nil)
}

// appendTo is encode into memory that is there. It takes the place of what is in it.
func (r *Record) appendTo(dst []byte) ([]byte, error) {
	const usual = 768 // bytes
	data, ok := appendRecord(slices.Grow(dst[:0], usual), r)
	if !ok {
		var err error
		if data, err = json.Marshal(r); err != nil {
			return dst[:0], fmt.Errorf("record of request %s: %w", r.RequestID, err)
		}
	}
	if len(r.Unknown) == 0 {
		return data, nil
	}
	data[len(data)-1] = ',' // there are members before it, and after the brace
	return append(data, r.Unknown[1:]...), nil
}

// appendEvent writes an event. Its Kling object is JSON, as whoever has read it from Kling has made sure.
func appendEvent(dst []byte, ev *events.Event) (out []byte, ok bool) {
	if len(ev.Tries) > 0 || ev.Result != nil && !plainNumbers(ev.Result) {
		return dst, false
	}
	o := object{dst: append(dst, '{')}
	o.text("request_id", ev.RequestID)
	o.text("kind", ev.Kind)
	o.text("status", string(ev.Status))
	o.text("source", string(ev.Source))
	o.optional("task_id", ev.TaskID)
	o.optional("external_task_id", ev.ExternalTaskID)
	o.optional("account", ev.Account)
	o.text("message", ev.Message)
	if ev.Result != nil {
		o.name("result")
		o.result(ev.Result)
	}
	if ev.Error != nil {
		o.name("error")
		o.failure(ev.Error)
	}
	o.optional("units", ev.Units)
	o.at("requested_at", &ev.RequestedAt)
	o.at("submitted_at", ev.SubmittedAt)
	o.at("completed_at", ev.CompletedAt)
	o.at("published_at", &ev.PublishedAt)
	o.name("metadata")
	o.texts(ev.Metadata)
	o.optional("replay_of", ev.ReplayOf)
	if len(ev.Kling) > 0 {
		o.name("kling")
		o.dst = appendCompact(o.dst, ev.Kling)
	}
	if ev.KlingOmitted {
		o.name("kling_omitted")
		o.dst = append(o.dst, "true"...)
	}
	return append(o.dst, '}'), true
}

// appendRecord writes a record but for what it does not understand.
func appendRecord(dst []byte, r *Record) (out []byte, ok bool) {
	if len(r.Tries) > 0 || r.Failure != nil {
		return dst, false
	}
	o := object{dst: append(dst, '{'), html: true}
	o.number("v", int64(r.Version))
	o.text("request_id", r.RequestID)
	o.text("kind", r.Kind)
	o.text("state", string(r.State))
	o.name("owner")
	o.dst = strconv.AppendUint(o.dst, r.Owner, 10)
	o.text("claim", r.Claim)
	o.number("attempt", int64(r.Attempt))
	o.unlessZero("certain", int64(r.Certain))
	o.instant("claimed_at", r.ClaimedAt)
	o.unlessNever("earlier_at", r.EarlierAt)
	o.unlessZero("upload", int64(r.Upload))
	o.text("external_task_id", r.ExternalTaskID)
	o.optional("task_id", r.TaskID)
	o.number("slots", int64(r.Slots))
	o.optional("model", r.Model)
	o.instant("requested_at", r.RequestedAt)
	o.unlessNever("submitted_at", r.SubmittedAt)
	o.instant("deadline", r.Deadline)
	o.unlessZero("polls", int64(r.Polls))
	o.unlessNever("next_poll_at", r.NextPollAt)
	if len(r.Metadata) > 0 {
		o.name("metadata")
		o.texts(r.Metadata)
	}
	o.optional("replay_of", r.ReplayOf)
	o.trace(r)
	o.text("account", r.Account)
	o.unlessZero("retries", int64(r.Retries))
	o.optional("fence", r.Fence)
	if r.Queued != 0 {
		o.name("queued")
		o.dst = strconv.AppendUint(o.dst, r.Queued, 10)
	}
	return append(o.dst, '}'), !o.odd
}

// object writes the members of an object whose brace is there.
type object struct {
	dst  []byte
	html bool // &, < and > are escaped
	odd  bool // something is for encoding/json to judge
}

func (o *object) name(name string) {
	if o.dst[len(o.dst)-1] != '{' {
		o.dst = append(o.dst, ',')
	}
	o.dst = append(append(append(o.dst, '"'), name...), '"', ':')
}

func (o *object) text(name, value string) {
	o.name(name)
	o.dst = appendText(o.dst, value, o.html)
}

func (o *object) optional(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *object) number(name string, value int64) {
	o.name(name)
	o.dst = strconv.AppendInt(o.dst, value, 10)
}

func (o *object) unlessZero(name string, value int64) {
	if value != 0 {
		o.number(name, value)
	}
}

func (o *object) truth(name string, value bool) {
	o.name(name)
	o.dst = strconv.AppendBool(o.dst, value)
}

// instant writes a time as [time.Time] does. One that it refuses is odd.
func (o *object) instant(name string, t time.Time) {
	o.name(name)
	text, err := t.AppendText(append(o.dst, '"'))
	if err != nil {
		o.odd = true
		return
	}
	text = append(text, '"')
	o.dst = text
}

func (o *object) unlessNever(name string, t time.Time) {
	if !t.IsZero() {
		o.instant(name, t)
	}
}

// at writes a time as events have them; nil: none.
func (o *object) at(name string, t *events.Time) {
	if t == nil {
		return
	}
	o.name(name)
	o.dst, _ = t.AppendText(append(o.dst, '"')) // it has no error
	o.dst = append(o.dst, '"')
}

// texts writes an object of strings, in the order of their names.
func (o *object) texts(m map[string]string) {
	if m == nil {
		o.dst = append(o.dst, "null"...)
		return
	}
	o.dst = append(o.dst, '{')
	var few [8]string
	names := few[:0]
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = append(appendText(o.dst, name, o.html), ':')
		o.dst = appendText(o.dst, m[name], o.html)
	}
	o.dst = append(o.dst, '}')
}

func (o *object) trace(r *Record) {
	t := &r.Trace
	if *t == (telemetry.Trace{}) {
		return
	}
	o.name("trace")
	o.dst = append(o.dst, '{')
	o.optional("traceparent", t.Traceparent)
	o.optional("tracestate", t.Tracestate)
	o.optional("baggage", t.Baggage)
	o.dst = append(o.dst, '}')
}

func (o *object) failure(e *events.Error) {
	o.dst = append(o.dst, '{')
	o.text("class", string(e.Class))
	o.number("code", int64(e.Code))
	o.number("http_status", int64(e.HTTPStatus))
	o.text("message", e.Message)
	o.truth("retryable", e.Retryable)
	o.dst = append(o.dst, '}')
}

func (o *object) result(r *events.Result) {
	o.dst = append(o.dst, '{')
	objects(o, "videos", r.Videos, func(v *events.Video) {
		o.text("id", v.ID)
		o.text("url", v.URL)
		o.amount("duration_seconds", v.DurationSeconds)
		o.text("watermark_url", v.WatermarkURL)
	})
	objects(o, "images", r.Images, func(i *events.Image) {
		o.number("index", int64(i.Index))
		o.text("url", i.URL)
		o.text("watermark_url", i.WatermarkURL)
	})
	objects(o, "audios", r.Audios, func(a *events.Audio) {
		o.text("id", a.ID)
		o.text("url_mp3", a.URLMP3)
		o.text("url_wav", a.URLWAV)
		o.amount("duration_seconds", a.DurationSeconds)
	})
	objects(o, "files", r.Files, func(f *events.File) {
		o.text("type", f.Type)
		o.text("url", f.URL)
	})
	o.at("expires_at", &r.ExpiresAt)
	o.dst = append(o.dst, '}')
}

// objects writes a list of objects.
func objects[T any](o *object, name string, all []T, members func(*T)) {
	o.name(name)
	if all == nil {
		o.dst = append(o.dst, "null"...)
		return
	}
	o.dst = append(o.dst, '[')
	for i := range all {
		if i > 0 {
			o.dst = append(o.dst, ',')
		}
		o.dst = append(o.dst, '{')
		members(&all[i])
		o.dst = append(o.dst, '}')
	}
	o.dst = append(o.dst, ']')
}

// amount writes a plain number.
func (o *object) amount(name string, n json.Number) {
	o.name(name)
	o.dst = append(o.dst, n...)
}

// plainNumbers reports whether all numbers of a result are plain.
func plainNumbers(r *events.Result) bool {
	return !slices.ContainsFunc(r.Videos, func(v events.Video) bool { return !plainNumber(string(v.DurationSeconds)) }) &&
		!slices.ContainsFunc(r.Audios, func(a events.Audio) bool { return !plainNumber(string(a.DurationSeconds)) })
}

// plainNumber tells a number of a few digits, with or without a fraction, from one that takes a closer look.
func plainNumber(s string) bool {
	const longest = 15
	point := -1
	for i := range len(s) {
		switch c := s[i]; {
		case c == '.' && point < 0:
			point = i
		case c < '0' || c > '9':
			return false
		}
	}
	if point == 0 || point == len(s)-1 || len(s) == 0 || len(s) > longest {
		return false
	}
	return s[0] != '0' || len(s) == 1 || point == 1
}

const lowerHex = "0123456789abcdef"

// appendText writes a string.
func appendText(dst []byte, s string, html bool) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		if plainByte(s[i], html) {
			i++
			continue
		}
		size := 1
		if s[i] >= utf8.RuneSelf {
			var r rune
			r, size = utf8.DecodeRuneInString(s[i:])
			if (r != utf8.RuneError || size > 1) && r != '\u2028' && r != '\u2029' {
				i += size
				continue
			}
		}
		dst = appendEscaped(append(dst, s[start:i]...), s[i:i+size])
		i += size
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// plainByte reports whether a byte stands for itself, by itself.
func plainByte(c byte, html bool) bool {
	return c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' && (!html || c != '<' && c != '>' && c != '&')
}

// appendEscaped writes one character that may not stand for itself, or a byte that is none.
func appendEscaped(dst []byte, s string) []byte {
	switch c := s[0]; c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	default:
		r, _ := utf8.DecodeRuneInString(s)
		return append(dst, '\\', 'u', lowerHex[r>>12&0xf], lowerHex[r>>8&0xf], lowerHex[r>>4&0xf], lowerHex[r&0xf])
	}
}

// appendCompact writes JSON without the space between its tokens.
func appendCompact(dst []byte, raw []byte) []byte {
	if !slices.ContainsFunc([]byte(" \n\r\t"), func(space byte) bool { return bytes.IndexByte(raw, space) >= 0 }) {
		return append(dst, raw...)
	}
	start, quoted := 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ' ' || c == '\n' || c == '\r' || c == '\t'):
			dst = append(dst, raw[start:i]...)
			start = i + 1
		}
	}
	return append(dst, raw[start:]...)
}
