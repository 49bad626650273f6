package store

import (
	"bytes"
	"encoding/json"
	"math/rand"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/klingbridge/klingbridge/bridge/telemetry"
	"github.com/klingbridge/klingbridge/events"
)

// FuzzEncodeEvent writes every event as encoding/json does, whatever is in it.
func FuzzEncodeEvent(f *testing.F) {
	for _, s := range []string{"order-42", "", "Köln \"<&>\"\\ \u2028\u2029", "\x00\b\f\n\r\t\x1f\x7f", "\xff\xc3", "\ufffd", "😀\xf0\x9f"} {
		for _, raw := range []string{"", `{}`, ` { "a" : [ 1 , "\\\" x" ] , "b":"<&>` + "\u2028" + `" } `, "null", `"\\"`} {
			f.Add(s, s, "5.1", []byte(raw), int64(1775000000123), uint8(0xff))
		}
	}
	for _, n := range []string{"", "0", "0.5", "05", "5.", ".5", "1e3", "-1", "1.2.3", "123456789012345", "1234567890123456", " 1", "x"} {
		f.Add("a", "b", n, []byte(nil), int64(-99999999999999), uint8(0x3f))
	}
	f.Fuzz(func(t *testing.T, id, text, number string, raw []byte, millis int64, has uint8) {
		if !json.Valid(raw) {
			raw = nil
		}
		at := events.At(time.UnixMilli(millis))
		ev := &events.Event{
			RequestID: id, Kind: text, Status: events.Status(text), TaskID: id, Units: number, RequestedAt: at, PublishedAt: at,
			Kling: raw, KlingOmitted: has&1 > 0,
		}
		if has&2 > 0 {
			ev.Message, ev.Account, ev.ExternalTaskID, ev.ReplayOf = text, id, text, id
		}
		if has&4 > 0 {
			ev.Metadata = map[string]string{id: text, text: id, "a": "", "": "b", "<": ">"}
		}
		if has&8 > 0 {
			ev.Result = &events.Result{ExpiresAt: at}
		}
		if has&16 > 0 {
			ev.Result = &events.Result{
				Videos: []events.Video{{ID: id, URL: text, DurationSeconds: json.Number(number), WatermarkURL: id}, {DurationSeconds: "0"}},
				Images: []events.Image{{Index: int(millis), URL: id, WatermarkURL: text}}, Files: []events.File{{Type: id, URL: text}},
				Audios: []events.Audio{{ID: id, URLMP3: text, URLWAV: id, DurationSeconds: "1.5"}}, ExpiresAt: at,
			}
		}
		if has&32 > 0 {
			ev.SubmittedAt, ev.CompletedAt = &at, &at
			ev.Error = &events.Error{Class: events.ErrorClass(id), Code: int(millis), HTTPStatus: 200, Message: text, Retryable: has&64 > 0}
		}
		if has&128 > 0 {
			ev.Tries = []events.Try{{TaskID: id, Message: text, FailedAt: at}}
		}
		sameEvent(t, ev)
	})
}

// sameEvent compares with encoding/json.
func sameEvent(t *testing.T, ev *events.Event) {
	t.Helper()
	want, wantErr := encodeBody(ev, ev.RequestID)
	got, err := encodeEvent(nil, ev)
	if (err != nil) != (wantErr != nil) || err == nil && !bytes.Equal(got, want) {
		t.Errorf("wrote\n%s, %v, want\n%s, %v", got, err, want, wantErr)
	}
}

// FuzzEncodeRecord writes every record as encoding/json does, whatever is in it.
func FuzzEncodeRecord(f *testing.F) {
	for _, s := range []string{"order-42", "", "Köln \"<&>\"\\ \u2028\u2029", "\x00\b\f\n\r\t\x1f\x7f", "\xff\xc3", "\ufffd", "😀\xf0\x9f"} {
		for _, seconds := range []int64{0, 1775000000, -62135596800, 253402300799, 253402300800, -62135596801} {
			f.Add(s, s, seconds, int64(123456789), 0, uint8(0xff))
		}
	}
	f.Add("a", "b", int64(1), int64(0), 3600, uint8(0))
	f.Add("a", "b", int64(1), int64(0), 86400, uint8(0x7f))
	f.Fuzz(func(t *testing.T, id, text string, seconds, nanos int64, east int, has uint8) {
		at := time.Unix(seconds, nanos).In(time.FixedZone("", east))
		rec := &Record{
			Version: 1, RequestID: id, Kind: text, State: state(text), Owner: uint64(nanos), Claim: id, ClaimedAt: at, Deadline: at.UTC(), Account: text,
		}
		if has&1 > 0 {
			rec.Attempt, rec.Certain, rec.Polls, rec.Slots, rec.Retries, rec.Queued = -1, east, int(nanos), 1, east, uint64(seconds)
		}
		if has&2 > 0 {
			rec.EarlierAt, rec.SubmittedAt, rec.NextPollAt, rec.RequestedAt, rec.Upload = at, at.UTC(), at, at, time.Duration(nanos)
		}
		if has&4 > 0 {
			rec.ExternalTaskID, rec.TaskID, rec.Model, rec.ReplayOf, rec.Fence = text, id, text, id, text
		}
		if has&8 > 0 {
			rec.Metadata = map[string]string{id: text, text: id, "a": "", "": "b", "<": ">"}
		}
		if has&16 > 0 {
			rec.Trace = telemetry.Trace{Traceparent: id, Tracestate: text}
		}
		if has&32 > 0 {
			rec.Trace.Baggage = text
		}
		sameRecord(t, rec)
	})
}

func sameRecord(t *testing.T, rec *Record) {
	t.Helper()
	want, wantErr := json.Marshal(rec)
	got, err := rec.encode()
	if (err != nil) != (wantErr != nil) || err == nil && !bytes.Equal(got, want) {
		t.Errorf("wrote\n%s, %v, want\n%s, %v", got, err, want, wantErr)
	}
}

// TestEveryFieldIsEncoded finds a field that was added to an event or a record and is not written.
func TestEveryFieldIsEncoded(t *testing.T) {
	t.Parallel()
	chance := rand.New(rand.NewSource(1))
	for range 2000 {
		ev := &events.Event{}
		fill(reflect.ValueOf(ev).Elem(), chance)
		ev.Tries = nil // are for encoding/json
		sameEvent(t, ev)
		rec := &Record{}
		fill(reflect.ValueOf(rec).Elem(), chance)
		rec.Tries, rec.Failure, rec.Unknown = nil, nil, nil
		sameRecord(t, rec)
	}
	ev, rec := &events.Event{Tries: []events.Try{{Message: "<&>"}}}, &Record{Failure: &failed{Kling: json.RawMessage(` {"a": "<&>"} `)}}
	sameEvent(t, ev)
	sameRecord(t, rec)
	rec = &Record{Tries: ev.Tries}
	sameRecord(t, rec)
}

// fill gives every field a value that is mostly not zero.
func fill(v reflect.Value, chance *rand.Rand) {
	switch at := v.Addr().Interface().(type) {
	case *time.Time:
		*at = time.Unix(chance.Int63n(4e9), chance.Int63n(1e9)).UTC()
		return
	case *json.RawMessage:
		*at = json.RawMessage(`{"a": ["<b>", 1.50]}`)
		return
	case *json.Number:
		*at = json.Number(strings.Repeat("7", chance.Intn(20)))
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), chance)
			}
		}
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), chance)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), chance.Intn(3), 3))
		for i := range v.Len() {
			fill(v.Index(i), chance)
		}
	default:
		value, ok := quick.Value(v.Type(), chance)
		if ok {
			v.Set(value)
		}
	}
}
