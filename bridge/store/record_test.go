package store

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/bridge/bus/bustest"
)

// membersOfNewer are what a newer version may add to a record.
const membersOfNewer = `{"budget":{"units":"3.50","parts":[1,2.0,1e400]},"note":"<a \"quote\"> & more","sealed":null}`

// ofNewer is a record as a newer version would write it.
func ofNewer(t *testing.T, rec *Record, version int) *Record {
	t.Helper()
	newer := *rec
	newer.Version, newer.Unknown = version, json.RawMessage(membersOfNewer)
	data, err := newer.encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// TestUnknownMembersSurvive takes a record of a newer version through everything that stores it again.
func TestUnknownMembersSurvive(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	rec := newTestRecord("kept")
	rec.State, rec.TaskID = StateCreating, ""
	check := func(step string, ok bool, err error) Entry {
		t.Helper()
		if !ok || err != nil {
			t.Fatalf("%s: %v, %v", step, ok, err)
		}
		e, err := l.Load(ctx, rec.Token())
		if err != nil {
			t.Fatal(err)
		}
		m, err := l.Bus.Last(ctx, l.Subjects.EventsStream(), l.Subjects.StateOf(rec.Token()))
		if err != nil {
			t.Fatal(err)
		}
		want, stored := map[string]json.RawMessage{}, map[string]json.RawMessage{}
		if err := errors.Join(json.Unmarshal([]byte(membersOfNewer), &want), json.Unmarshal(m.Data, &stored)); err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			if got := string(stored[name]); !sameJSON(got, string(value)) {
				t.Errorf("after %s %s is %q, want %s", step, name, got, value)
			}
		}
		return e
	}

	_, ok, err := l.Intend(ctx, ofNewer(t, rec, Version), later)
	e := check("intend", ok, err)
	e.Rec.Attempt++
	_, ok, err = l.Claim(ctx, e.Rec, later, e.Seq)
	e = check("claim", ok, err)
	e.Rec.State, e.Rec.TaskID = StateSubmitted, "871000000000000101"
	ok, err = l.Arm(ctx, e.Rec, later)
	e = check("arm", ok, err)
	e = check("due", true, l.DueNow(ctx, e.Rec))
	if !e.Due {
		t.Fatal("the record is not due")
	}
	e.Rec.Polls++
	ok, err = l.Arm(ctx, e.Rec, later)
	e = check("arm again", ok, err)
	if e.Due || e.Rec.Polls != 1 || e.Rec.Attempt != 1 || e.Rec.State != StateSubmitted {
		t.Errorf("the record in the end: %+v", e.Rec)
	}
}

// sameJSON compares spellings of strings by what they mean, and of numbers as they are.
func sameJSON(a, b string) bool {
	return strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(a) == b
}

// TestRecordOfANewerVersionIsNotWritten tries each way to store one.
func TestRecordOfANewerVersionIsNotWritten(t *testing.T) {
	l := newLedger(t, bustest.Start(t).URL(), 1)
	ctx, later := t.Context(), time.Now().Add(time.Hour)
	rec := ofNewer(t, newTestRecord("newer"), Version+1)
	if _, _, err := l.Intend(ctx, rec, later); !errors.Is(err, errNewer) {
		t.Errorf("intend: %v", err)
	}
	if _, _, err := l.Claim(ctx, rec, later, 1); !errors.Is(err, errNewer) {
		t.Errorf("claim: %v", err)
	}
	if _, err := l.Arm(ctx, rec, later); !errors.Is(err, errNewer) {
		t.Errorf("arm: %v", err)
	}
	if err := l.DueNow(ctx, rec); err != nil {
		t.Errorf("due: %v", err)
	}
	e, err := l.Load(ctx, rec.Token())
	if err != nil || !e.Due {
		t.Fatal(e, err)
	}
	if diff := cmp.Diff(rec, e.Rec); diff != "" {
		t.Errorf("the record that is due is another: %s", diff)
	}
}

// TestKnownMembers holds the list of names to the fields.
func TestKnownMembers(t *testing.T) {
	fields := reflect.TypeFor[Record]()
	for i := range fields.NumField() {
		name, _, _ := strings.Cut(fields.Field(i).Tag.Get("json"), ",")
		if name != "-" && !knownMember([]byte(name)) {
			t.Errorf("%q is not in the list", name)
		}
	}
	data, err := json.Marshal(hotRecord())
	if err != nil {
		t.Fatal(err)
	}
	if !onlyKnown(data) {
		t.Errorf("%s: members are taken for unknown", data)
	}
	for _, own := range []string{
		`{"v":1,"metadata":{"note":"b","c":"{\"d\":"},"trace":{"e":"f"},"claim":"g\\"}`, `{ "v" : 1 , "claim" : "note" }`, `{}`,
	} {
		if !onlyKnown([]byte(own)) {
			t.Errorf("%s: members are taken for unknown", own)
		}
	}
	for _, foreign := range []string{`{"note":1}`, `{"v":1,"metadata":{},"note":[]}`, `{"\u0076":1}`, `{"claim":"\"","note":""}`} {
		if onlyKnown([]byte(foreign)) {
			t.Errorf("%s: an unknown member is not seen", foreign)
		}
	}
}
