package config_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/klingbridge/klingbridge/config"
)

func TestStreamSizes(t *testing.T) {
	t.Parallel()
	c, err := config.Load(map[string]string{
		"BRIDGE_STREAM_MAX_BYTES": "requests=256MiB, events=4G,dead=1.5 GB,settings=1048576,inputs=1tib,archive=512kb",
	})
	want := config.StreamSizes{
		"requests": 256 << 20, "events": 4 << 30, "dead": 1_500_000_000, "settings": 1 << 20, "inputs": 1 << 40, "archive": 512_000,
	}
	if diff := cmp.Diff(want, c.StreamMaxBytes); diff != "" || err != nil {
		t.Errorf("%v, (-want +got):\n%s", err, diff)
	}
}

func TestStreamSizesFaults(t *testing.T) {
	t.Parallel()
	const form = ` is not a size above 0 (want e.g. 256MiB, 4GiB or 1073741824)`
	for value, want := range map[string]string{
		"events":                       `events: ""` + form,
		"events=0":                     `events: "0"` + form,
		"events=-1":                    `events: "-1"` + form,
		"events=4XB":                   `events: "4XB"` + form,
		"events=9e9":                   `events: "9e9"` + form,
		"events=99999999TiB":           `events: "99999999TiB"` + form,
		"events=1,events=2":            "events is named twice",
		"video=1":                      `"video=1" names none of requests, events, dead, settings, inputs, archive`,
		"events=x,dead=1MiB,inputs=1y": `events: "x"` + form + `; inputs: "1y"` + form,
	} {
		_, err := config.Load(map[string]string{"BRIDGE_STREAM_MAX_BYTES": value})
		faults, _ := errors.AsType[config.Faults](err)
		if len(faults) != 1 || faults[0].Variable != "BRIDGE_STREAM_MAX_BYTES" || faults[0].Problem != want {
			t.Errorf("%s: %v, want %s", value, err, want)
		}
	}
}
