package store

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzRecord stores what was read as it was.
func FuzzRecord(f *testing.F) {
	f.Add([]byte(`{"v":1,"request_id":"a","kind":"text2video","state":"creating","owner":1,"slots":1}`))
	f.Add([]byte(`{"request_id":"a","kind":"b","deadline":"2026-01-01T00:00:00Z","metadata":{"a":"\u0000"},"trace":null}`))
	f.Add([]byte(`{"request_id":1}`))
	f.Add([]byte(`{"v":2,"request_id":"a","kind":"text2video","units":{"v":[1e400,"}"]},"\u0061":"\"","a\"":1,"Claim":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rec, err := Decode(data)
		if err != nil {
			return
		}
		stored, err := rec.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(stored)
		if err != nil || !cmp.Equal(rec, again) {
			t.Errorf("%v: %s", err, cmp.Diff(rec, again))
		}
	})
}
