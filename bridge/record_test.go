package bridge

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
func ofNewer(t *testing.T, rec *record, version int) *record {
	t.Helper()
	newer := *rec
	newer.Version, newer.Unknown = version, json.RawMessage(membersOfNewer)
	data, err := newer.encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := decodeRecord(data)
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
	rec.State, rec.TaskID = stateCreating, ""
	check := func(step string, ok bool, err error) entry {
		t.Helper()
		if !ok || err != nil {
			t.Fatalf("%s: %v, %v", step, ok, err)
		}
		e, err := l.load(ctx, rec.token())
		if err != nil {
			t.Fatal(err)
		}
		m, err := l.bus.Last(ctx, l.subjects.EventsStream(), l.subjects.StateOf(rec.token()))
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

	_, ok, err := l.intend(ctx, ofNewer(t, rec, recordVersion), later)
	e := check("intend", ok, err)
	e.rec.Attempt++
	_, ok, err = l.claim(ctx, e.rec, later, e.seq)
	e = check("claim", ok, err)
	e.rec.State, e.rec.TaskID = stateSubmitted, "871000000000000101"
	ok, err = l.arm(ctx, e.rec, later)
	e = check("arm", ok, err)
	e = check("due", true, l.dueNow(ctx, e.rec))
	if !e.due {
		t.Fatal("the record is not due")
	}
	e.rec.Polls++
	ok, err = l.arm(ctx, e.rec, later)
	e = check("arm again", ok, err)
	if e.due || e.rec.Polls != 1 || e.rec.Attempt != 1 || e.rec.State != stateSubmitted {
		t.Errorf("the record in the end: %+v", e.rec)
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
	rec := ofNewer(t, newTestRecord("newer"), recordVersion+1)
	if _, _, err := l.intend(ctx, rec, later); !errors.Is(err, errNewer) {
		t.Errorf("intend: %v", err)
	}
	if _, _, err := l.claim(ctx, rec, later, 1); !errors.Is(err, errNewer) {
		t.Errorf("claim: %v", err)
	}
	if _, err := l.arm(ctx, rec, later); !errors.Is(err, errNewer) {
		t.Errorf("arm: %v", err)
	}
	if err := l.dueNow(ctx, rec); err != nil {
		t.Errorf("due: %v", err)
	}
	e, err := l.load(ctx, rec.token())
	if err != nil || !e.due {
		t.Fatal(e, err)
	}
	if diff := cmp.Diff(rec, e.rec); diff != "" {
		t.Errorf("the record that is due is another: %s", diff)
	}
}

// TestKnownMembers holds the list of names to the fields.
func TestKnownMembers(t *testing.T) {
	fields := reflect.TypeFor[record]()
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
