package bus

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// listing is what the server says of a stream with so many messages on subjects.
func listing(tb testing.TB, subjects map[string]uint64) []byte {
	tb.Helper()
	data, err := json.Marshal(subjects)
	if err != nil {
		tb.Fatal(err)
	}
	return fmt.Appendf(nil, `{"type":"io.nats.jetstream.api.v1.stream_info_response","total":%d,"offset":0,"config":{"name":"S",`+
		`"subjects":["put.\u003e"],"description":"\"subjects\":{\"a\":1}"},"state":{"messages":7,"subjects":%s,"num_subjects":3}}`,
		len(subjects)+1, data)
}

func TestReadSubjects(t *testing.T) {
	t.Parallel()
	for name, subjects := range map[string]map[string]uint64{
		"none":    {},
		"one":     {"kling-state.due.effects.video.x": 1},
		"several": {"a.b": 1, "a.c": 20, "z": 18446744073709551615},
		"odd":     {"a.b": 1, `b."q".}{`: 2, `c.\`: 3, "d.é<>&": 4, "e.,:": 5, "f.\u2028": 6, "g.h": 7},
	} {
		got := map[string]uint64{}
		listed, total, err := readSubjects(listing(t, subjects), func(s string) { got[s]++ })
		if err != nil || listed != len(subjects) || total != len(subjects)+1 {
			t.Errorf("%s: %d listed of %d, %v", name, listed, total, err)
		}
		if want, got := slices.Sorted(maps.Keys(subjects)), slices.Sorted(maps.Keys(got)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	for answer, want := range map[string]string{
		`{"error":{"code":404,"err_code":10059,"description":"stream not found"}}`: "stream not found",
		`{"state":{"subjects":{"a":1,"b`:                                           "unexpected end",
		`{"state":{"subjects":{"a":1,"b":2`:                                        "unexpected end",
		`{"state":{"subjects":{"a":1 "b":2}}`:                                      "invalid character",
		`{"state":{"subjects":{"a"`:                                                "unexpected end",
	} {
		if _, _, err := readSubjects([]byte(answer), func(string) {}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	for answer, want := range map[string]int{`{"state":{"subjects":null}}`: 0, `{"state":{ "subjects" : { "a" : 1 , "b":2}}}`: 2, `{}`: 0} {
		if listed, _, err := readSubjects([]byte(answer), func(string) {}); listed != want || err != nil {
			t.Errorf("%s: %d, %v", answer, listed, err)
		}
	}
}

func BenchmarkReadSubjects(b *testing.B) {
	subjects := map[string]uint64{}
	for i := range 10_000 {
		subjects[fmt.Sprintf("kling-state.pending.text2video.video.order-%09d", i)] = 1
	}
	answer := listing(b, subjects)
	b.SetBytes(int64(len(answer)))
	b.ReportAllocs()
	for b.Loop() {
		if listed, _, err := readSubjects(slices.Clone(answer), func(string) {}); listed != len(subjects) || err != nil {
			b.Fatal(listed, err)
		}
	}
}
